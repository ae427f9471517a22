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
	{page: "README.md", command: starts("kill -USR2 PID"), shell: `CMD; await $PID "$log" "upgrade: handed over"`, changes: []string{"PID", "$PID"}},
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

	// docs/metrics.md
	{page: "docs/metrics.md", command: starts("curl -s localhost:9127/metrics"), shell: "CMD | grep -q '^vublk_export_up'; stop"},

	// docs/performance.md is written by `make bench`: what it shows is what was run.
	{page: "docs/performance.md", command: regexp.MustCompile(`^(taskset|the driver itself)`), never: "a record of what make bench has run"},

	// docs/frontends.md is typed by a test of its own, block by block.
	{page: "docs/frontends.md", command: regexp.MustCompile(``), test: "test/frontends TestLibvirt"},

	// examples/customdisk/README.md
	{page: "examples/customdisk/README.md", command: regexp.MustCompile(`^(go build|truncate|head|./customdisk|qemu)`), test: "test/customdisk TestGuest"},
}

// quick makes a measurement take less time.
const quick = "--runtime=40ms --warmup=10ms --rounds=2"

// notCommands are blocks that show something else, by the page and the words that they begin with.
var notCommands = map[string]string{
	"docs/architecture.md cmd/vublk":  "a diagram",
	"docs/durability.md msg=serving":  "a line of the log",
	"docs/survival.md look ─► handle": "a diagram",
}

// languages of fences that hold no commands, and what looks at them.
var languages = map[string]string{
	"xml":  "README.md's is part of docs/frontends.md's (TestSnippets), which test/frontends gives to libvirt",
	"yaml": "test/metrics gives it to Prometheus",
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
