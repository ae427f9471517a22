package docs

import (
	"regexp"
	"strings"
)

// rule says how commands of a kind are run. Exactly one of shell, test and never is set.
type rule struct {
	page    string         // where it is for; empty: anywhere
	command *regexp.Regexp // which: the first rule that matches is taken
	// shell is what is run, in the words of prelude.sh; CMD stands for the command, after the changes.
	shell   string
	changes []string // old, new, …: what is exchanged in it, for this machine or to take less time
	// test is the one that runs it: "package TestName".
	test string
	// never is why nobody runs it.
	never string
}

// tcg is for QEMU: no machine that tests run on need have KVM, and Debian's QEMU is older than reconnect-ms.
var tcg = []string{"-accel kvm", "-accel tcg", "reconnect-ms=1000", "reconnect=1"}

func starts(words string) *regexp.Regexp { return regexp.MustCompile("^" + regexp.QuoteMeta(words)) }

// rules are asked in their order.
var rules = []rule{
	// README.md
	{page: "README.md", command: starts("make demo"), test: "test/docs TestDemo"},
	{page: "README.md", command: starts("make test"), never: "it runs this test"},
	{command: regexp.MustCompile(`^make build$`), test: "test/docs TestBuild"},
	{page: "README.md", command: starts("bin/vublk create disk.raw"), shell: "CMD; bootable disk.raw"},
	{page: "README.md", command: starts("bin/vublk serve --export"), shell: "stop; image a.raw; image b.raw; background listening CMD"},
	{page: "README.md", command: starts("bin/vublk serve --supervise"), shell: "stop; background listening CMD; log=$(log); PID=$(newest)"},
	{page: "README.md", command: starts("kill -USR2 PID"), shell: `CMD; await $PID "$log" "upgrade: handed over"`, changes: pid},
	{
		page: "README.md", command: starts("bin/vublk serve --take-over"),
		shell: "stop; background listening vublk serve --socket-path=vm.sock --blk-file=disk.raw; old=$(newest); background listening CMD; ended $old; stop",
	},
	{page: "README.md", command: starts("bin/vublk bench --socket"), shell: "background listening vublk serve --socket-path=vm.sock --store=null:1GiB; CMD " + quick + "; stop"},
	{page: "README.md", command: starts("bin/vublk bench --store=scratch.raw"), shell: "image scratch.raw; CMD " + quick},
	{command: regexp.MustCompile(`^(bin/)?vublk bench `), shell: "CMD " + quick},
	{page: "README.md", command: starts("bin/vublk serve --socket-path=vm.sock"), shell: "background listening CMD"},
	{page: "docs/metrics.md", command: starts("vublk serve"), shell: "image disk.raw; background listening CMD"},
	{page: "README.md", command: starts("qemu-system-x86_64 -m 2G"), shell: "machine CMD", changes: tcg},

	{page: "README.md", command: starts("bin/vublk daemon"), shell: "stop; mkdir -p /var/lib/vublk; background ready CMD"},
	{page: "README.md", command: regexp.MustCompile(`^bin/vublk (export (create|list)|top --once)`), shell: "CMD"},

	// docs/daemon.md
	{page: "docs/daemon.md", command: starts("vublk daemon"), shell: "mkdir -p /var/lib/vublk; image /var/lib/vublk/debian.iso; background ready CMD"},
	{page: "docs/daemon.md", command: regexp.MustCompile(`^vublk (export|stats|top --once)`), shell: "CMD"},

	// docs/operations.md
	{page: ops, command: starts("vublk serve --cpus"), shell: "image disk.raw; background listening CMD; stop"},
	{page: ops, command: starts("systemctl"), never: "there is no systemd in the room; test/systemd has one"},
	{page: ops, command: starts("kill -USR2 PID"), shell: supervised + `CMD; await $PID "$log" "upgrade: handed over"; stop`, changes: pid},
	{page: ops, command: starts("vublk serve --take-over"), shell: plain + "background listening CMD; ended $PID; stop"},
	{page: ops, command: starts("vublk serve --incoming"), shell: plain + "background listening CMD; stop"},
	{page: ops, command: starts("vublk release"), test: "test/lock TestRelease"},
	{page: ops, command: starts("truncate"), shell: plain + "CMD"},
	{page: ops, command: starts("kill -HUP PID"), shell: `CMD; await $PID "$log" "the disk has grown"`, changes: pid},
	{page: ops, command: starts("vublk export resize vm"), shell: daemon + "CMD"},
	{page: ops, command: starts("vublk export resize iso"), shell: "truncate -s 32M /var/lib/vublk/iso.raw; CMD"},
	{page: ops, command: starts("kill -USR1 PID"), shell: "CMD; kill -0 $PID", changes: pid},
	{page: ops, command: starts("cp --sparse"), shell: "CMD; cmp copy.raw /var/lib/vublk/vm.raw"},
	{page: ops, command: regexp.MustCompile(`^vublk (export (list|show|clear-error|drain|start) ?|stats|top --once)`), shell: "CMD"},

	// docs/metrics.md
	{page: "docs/metrics.md", command: starts("curl -s localhost:9127/metrics"), shell: "CMD | grep -q '^vublk_export_up'; stop"},

	// docs/performance.md is written by `make bench`: what it shows is what was run.
	{page: "docs/performance.md", command: regexp.MustCompile(`^(taskset|the driver itself)`), never: "a record of what make bench has run"},

	// docs/frontends.md is typed by a test of its own, block by block.
	{page: "docs/frontends.md", command: regexp.MustCompile(`kata|^crosvm|^cloud-hypervisor|^curl --unix-socket|^"drive_id"|^}'$`), never: "its program is in no Debian release, as the page says"},
	{page: "docs/frontends.md", command: starts("virsh"), test: "test/frontends TestLibvirt"},
	{page: "docs/frontends.md", command: regexp.MustCompile(`^(install|umask|vublk (create|serve|daemon|export)|qemu-system-x86_64)`), test: "test/frontends TestQEMU"},

	// examples/customdisk/README.md
	{page: "examples/customdisk/README.md", command: regexp.MustCompile(`^(go build|truncate|head|./customdisk|qemu)`), test: "test/customdisk TestGuest"},
}

const (
	ops = "docs/operations.md"
	// plain and supervised serve vm.sock, as PID.
	plain      = "image disk.raw; background listening vublk serve --socket-path=vm.sock --blk-file=disk.raw --cache=writeback; PID=$(newest); log=$(log); "
	supervised = "background listening vublk serve --supervise --socket-path=vm.sock --blk-file=disk.raw; PID=$(newest); log=$(log); "
	// daemon is one with the exports vm and iso.
	daemon = "background ready vublk daemon; " +
		"vublk export create vm --socket-path=/run/vublk/vm.sock --blk-file=/var/lib/vublk/vm.raw --create-size=64MiB; " +
		"vublk export create iso --socket-path=/run/vublk/iso.sock --blk-file=/var/lib/vublk/iso.raw --create-size=16MiB; "
)

// pid are the changes where a command has the word.
var pid = []string{"PID", "$PID"}

// quick makes a measurement take less time.
const quick = "--runtime=40ms --warmup=10ms --rounds=2"

// notCommands are blocks that show something else, by the page and the words that they begin with.
var notCommands = map[string]string{
	"docs/durability.md msg=serving":  "a line of the log",
	"docs/survival.md look ─► handle": "a diagram",
}

// languages of fences that hold no commands, and what looks at them.
var languages = map[string]string{
	"text": "a fence without a language: a diagram",
	"xml":  "README.md's is part of docs/frontends.md's (TestSnippets), which test/frontends gives to libvirt",
	"yaml": "test/metrics gives docs/metrics.md's to Prometheus, TestAlerts the rest",
	"toml": "Kata's configuration: the page says that it was read, and not run",
	"c":    "make interop compiles it and runs it with libblkio",
	"go":   "examples/customdisk/main.go has the line (TestSnippets)",
}

// find returns the rule for a command.
func find(page, command string) (n int) {
	for n, r := range rules {
		if (r.page == "" || r.page == page) && r.command.MatchString(command) {
			return n
		}
	}
	return -1
}

// script is what a rule makes of a command.
func (r rule) script(command string) string {
	return strings.ReplaceAll(r.shell, "CMD", strings.NewReplacer(r.changes...).Replace(command))
}
