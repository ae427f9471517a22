# What the rules of rules_test.go say, for bash in the room. Everything happens in the scratch directory of one page.
set -eu
umask 022
pids=() # of what runs in the background, and
logs=() # what it writes to

fail() {
	echo "FAIL: $*" >&2
	for log in "${logs[@]}"; do
		echo "== $log" >&2
		tail -n 20 "$log" >&2
	done
	exit 1
}

# await PID LOG WORDS waits until LOG has WORDS in it.
await() {
	local deadline=$((SECONDS + 60))
	until grep -q -e "$3" "$2"; do
		kill -0 "$1" 2>/dev/null || fail "ended, and did not say \"$3\""
		((SECONDS < deadline)) || fail "does not say \"$3\""
		sleep 0.05
	done
}

# background WORDS COMMAND... runs COMMAND beside the others, and waits until it says WORDS, if any.
background() {
	local words=$1 log=log.${#logs[@]}
	shift
	logs+=("$log")
	: >"$log"
	"$@" >>"$log" 2>&1 &
	pids+=($!)
	[ -z "$words" ] || await $! "$log" "$words"
}

# newest is the process that was started last.
newest() { echo "${pids[-1]}"; }

# log is what it has written.
log() { echo "${logs[-1]}"; }

# ended PID waits for its end, which must be a good one.
ended() { wait "$1" || fail "process $1 ended with status $?"; }

# stop ends everything in the background, the latest first; all must end well.
stop() {
	local n
	for ((n = ${#pids[@]} - 1; n >= 0; n--)); do
		kill -TERM "${pids[n]}" 2>/dev/null || continue
		ended "${pids[n]}"
	done
	pids=()
}

# image FILE makes one, unless it is there.
image() { [ -e "$1" ] || truncate -s 64M "$1"; }

# bootable FILE makes the BIOS of a virtual machine say on its serial port that it was here: mov dx,3f8; mov al,c; out dx,al …
bootable() {
	local text='booted from vublk' code='\xba\xf8\x03' n
	for ((n = 0; n < ${#text}; n++)); do
		code+="\\xb0\\x$(printf %x "'${text:n:1}")\\xee"
	done
	printf "$code"'\xb0\x0a\xee\xf4\xeb\xfd' | dd of="$1" conv=notrunc status=none
	printf '\x55\xaa' | dd of="$1" bs=1 seek=510 conv=notrunc status=none
}

# machine COMMAND... runs QEMU until it has booted from its disk.
machine() {
	: >serial
	background '' "$@" -display none -serial file:serial -no-reboot
	await "$(newest)" serial 'booted from vublk'
	kill -TERM "$(newest)"
	ended "$(newest)"
	unset 'pids[-1]'
}
