#!/bin/sh
# Runs what the host sends over the virtio-serial port "vublk.agent".
# Host:  ID BASE64-OF-A-SHELL-SCRIPT
# Guest: @ready BOOT-ID, once; @done ID STATUS BASE64-OF-ITS-OUTPUT, per script.
# Every message of the guest begins on a line of its own, whatever a reset cut off.
find_port() {
	for name in /sys/class/virtio-ports/*/name; do
		if [ "$(cat "$name" 2>/dev/null)" = vublk.agent ]; then
			basename "$(dirname "$name")"
			return
		fi
	done
}

port=
while [ -z "$port" ] || [ ! -c "/dev/$port" ]; do
	port=$(find_port)
	usleep 20000
done
exec 3<>"/dev/$port"
printf '\n@ready %s\n' "$(cat /proc/sys/kernel/random/boot_id)" >&3
echo "agent: ready"

while true; do
	# The first process must not end: that would be a panic.
	if ! read -r id script <&3; then
		usleep 100000
		continue
	fi
	echo "$script" | base64 -d >/tmp/.script
	sh /tmp/.script >/tmp/.output 2>&1 </dev/null 3>&-
	status=$?
	{
		printf '\n@done %s %s ' "$id" "$status"
		base64 </tmp/.output | tr -d '\n'
		echo
	} >&3
done
