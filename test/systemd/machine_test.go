package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/test/e2e/guest"
)

// patience is for a script in the machine, which is slow under TCG beside other tests.
const patience = 3 * time.Minute

// unitDir is where units are, the host's and, after `make install`, ours.
const unitDir = "/usr/lib/systemd/system/"

// units are what the machine has of the host's systemd, beside all targets.
var units = []string{"systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"}

// programs are the host's, systemd's own.
var programs = []string{
	"/lib/systemd/systemd", "/lib/systemd/systemd-journald", "/lib/systemd/systemd-cgroups-agent", "/lib/systemd/systemd-shutdown",
	"/usr/bin/systemctl", "/usr/bin/journalctl", "/usr/bin/systemd-analyze", "/usr/bin/systemd-run",
}

// files are what else there is.
var files = map[string]string{
	"/etc/os-release":            "NAME=vublk-test\nID=vublk-test\n",
	"/etc/group":                 "root:x:0:\n",
	"/etc/systemd/journald.conf": "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nAudit=no\n",
	"/etc/systemd/system.conf":   "[Manager]\nDefaultEnvironment=PATH=/tools:/usr/bin:/bin\n",
	"/etc/systemd/system/agent.service": "[Unit]\nDescription=The host's hand in this machine\n" +
		"[Service]\nExecStart=/agent\nOOMScoreAdjust=-1000\n",
	"/etc/systemd/system/test.target": "[Unit]\nRequires=basic.target systemd-journald.service\nAfter=basic.target\nWants=agent.service\n",
}

// machine is a guest of QEMU with systemd as its first process.
type machine struct {
	t *testing.T
	g *guest.Guest
}

// bootMachine starts it. A disk with a file system that does direct I/O is at /var/lib.
func bootMachine(t *testing.T) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "vublk-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	disk, err := guest.CreateSparse(filepath.Join(dir, "disk.raw"), 256<<20)
	must(t, err)
	must(t, disk.Mkfs(""))
	o := guest.Options{
		Dir: dir, Kernel: lab.kernel.Image, Initramfs: filepath.Join(dir, "initramfs"),
		Append: "vublk.init=/lib/systemd/systemd systemd.unit=test.target systemd.show_status=no",
		Machine: []string{
			"-machine", "pc", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024M",
			"-drive", "if=virtio,format=raw,cache=unsafe,file=" + disk.Path,
		},
	}
	must(t, guest.Initramfs(lab.kernel, o.Initramfs, contents(t)))
	begun := time.Now()
	g, err := guest.Start(o)
	must(t, err)
	t.Cleanup(g.Close)
	m := &machine{t: t, g: g}
	if _, err := g.WaitReady(); err != nil {
		t.Fatalf("%v; the console:\n%s", err, g.Console())
	}
	t.Logf("systemd and the agent were there %v after QEMU's start", time.Since(begun).Round(time.Second/10))
	m.run("ln /tools/vublk /usr/bin/vublk && mkdir -p /var/lib && mount -t ext4 /dev/vda /var/lib && mkdir /var/lib/images /etc/vublk")
	return m
}

// contents is what is in the machine: our units as `make install` puts them.
func contents(t *testing.T) guest.Contents {
	t.Helper()
	c := guest.Contents{Host: append([]string(nil), programs...), Static: []string{lab.pilot}, Files: map[string]string{}}
	for name, text := range files {
		c.Files[name] = text
	}
	c.Host = append(c.Host, theirs(t)...)
	for name, text := range installed(t, "/usr/bin") {
		c.Files[unitDir+name] = text
	}
	c.Static = append(c.Static, lab.vublk)
	return c
}

// theirs are the files of the host's units that a machine has.
func theirs(t *testing.T) (paths []string) {
	t.Helper()
	paths, err := filepath.Glob(unitDir + "*.target")
	must(t, err)
	for _, unit := range units {
		paths = append(paths, unitDir+unit)
	}
	return paths
}

// installed are the texts of our units as `make install` writes them, by name.
func installed(t *testing.T, bin string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(lab.repo, "packaging", "systemd", "vublk*"))
	must(t, err)
	if len(paths) != 3 {
		t.Fatalf("%d units in packaging/systemd, want 3", len(paths))
	}
	texts := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		must(t, err)
		texts[filepath.Base(path)] = strings.ReplaceAll(string(text), "@BINDIR@", bin)
	}
	return texts
}

// on is the machine as a test that is a part sees it.
func (m *machine) on(t *testing.T) *machine { return &machine{t: t, g: m.g} }

// try runs a shell script.
func (m *machine) try(script string) guest.Result {
	m.t.Helper()
	r, err := m.g.Run("PATH=/usr/bin:/tools:/bin; "+script, patience)
	if err != nil {
		m.t.Fatalf("%v; the console ends with:\n%s\n%s", err, tail(m.g.Console()), m.journal())
	}
	return r
}

// run is try for a script that must succeed.
func (m *machine) run(script string) string {
	m.t.Helper()
	r := m.try(script)
	if r.Status != 0 {
		m.t.Fatalf("%s\nstatus %d: %s\n%s", script, r.Status, r.Output, m.journal())
	}
	return strings.TrimSpace(r.Output)
}

// await runs a script again and again until it succeeds.
func (m *machine) await(what, script string) {
	m.t.Helper()
	r := m.try(fmt.Sprintf("end=$(($(date +%%s) + 100)); until %s; do [ $(date +%%s) -lt $end ] || exit 1; usleep 100000; done", script))
	if r.Status != 0 {
		m.t.Fatalf("%s: not within 100 s (%s): %s\n%s", what, script, r.Output, m.journal())
	}
}

// journal is the end of the machine's log.
func (m *machine) journal() string {
	r, err := m.g.Run("/usr/bin/journalctl --no-pager -q -n 60 -o short-monotonic", patience)
	if err != nil {
		return err.Error()
	}
	return r.Output
}

// property is one of a unit's.
func (m *machine) property(unit, name string) string {
	m.t.Helper()
	return m.run("systemctl show --value -p " + name + " '" + unit + "'")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tail(s string) string { return s[max(0, len(s)-4000):] }
