package frontends

import (
	"os"
	"strings"
	"testing"

	"github.com/vublk/vublk/test/e2e/guest"
)

// qemu returns the words of one of the page's QEMU commands, the accelerator exchanged for what every machine has.
func qemu(t *testing.T, name string) []string {
	t.Helper()
	all := commands(snippet(t, name))
	if len(all) != 1 {
		t.Fatalf("%s: %d commands, want 1", name, len(all))
	}
	words := strings.Fields(replaced(t, all[0], "-accel kvm -cpu host", "-accel tcg,thread=multi"))
	equal(t, name, words[0], "qemu-system-x86_64")
	return words[1:]
}

// TestQEMU runs the page's command for the QEMU that is there: Debian's, or a newer one in VUBLK_QEMU (test/interop/run
// --qemu has one). vublk is killed and ended under the guest.
func TestQEMU(t *testing.T) {
	older, newer := qemu(t, "qemu-old"), qemu(t, "qemu")
	// What only one of the two can run here, the other proves for all but this option.
	equal(t, "the command for a new QEMU, said to an old one",
		replaced(t, strings.Join(newer, " "), ",reconnect-ms=1000", ",reconnect=1"), strings.Join(older, " "))
	machine, command := older, strings.Fields(os.Getenv("VUBLK_QEMU"))
	if len(command) > 0 {
		machine = newer
	}
	dir := newDir(t)
	s := newSession(t, dir)
	serve := s.serve("serve", "")
	g := s.boot(dir, guest.Options{Machine: machine, QEMU: command})
	equal(t, "queues of the disk", s.inGuest("ls /sys/block/vda/mq | wc -l"), "2")
	s.write()
	s.harry(serve, kill, term)
	report := s.settle()
	must(t, g.PowerOff())
	s.end()
	checkRecords(t, report)
}

// boot starts the guest.
func (s *session) boot(dir string, o guest.Options) *guest.Guest {
	t := s.t
	t.Helper()
	o.Dir = dir
	o.Kernel, o.Initramfs = bootFiles(t, dir)
	g, err := guest.Start(o)
	must(t, err)
	t.Cleanup(g.Close)
	_, err = g.WaitReady()
	must(t, err)
	s.guest = g
	return g
}

// TestSupervised is for what the page says of front-ends that do not reconnect, and of paused guests, which Debian's QEMU
// would not reconnect: it leaves out reconnect, and the worker of a supervised vublk is killed in both states.
func TestSupervised(t *testing.T) {
	machine := strings.Fields(replaced(t, strings.Join(qemu(t, "qemu-old"), " "), ",reconnect=1", ""))
	dir := newDir(t)
	s := newSession(t, dir)
	s.serve("serve", "--supervise")
	s.onHost("until grep -q listening /run/vublk/vm.log; do sleep 0.1; done") // this QEMU does not wait
	g := s.boot(dir, guest.Options{Machine: machine})
	s.write()
	const killWorker = "kill -KILL $(cat /proc/$!/task/*/children)"
	s.onHost(killWorker)
	s.inGuest("sh /progress 10")
	must(t, g.QMP.Execute("stop", nil, nil))
	s.onHost(killWorker)
	must(t, g.QMP.Execute("cont", nil, nil))
	s.inGuest("sh /progress 10")
	report := s.settle()
	must(t, g.PowerOff())
	s.end()
	checkRecords(t, report)
}
