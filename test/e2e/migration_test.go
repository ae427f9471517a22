package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vublk/vublk/test/e2e/guest"
)

const (
	migrateTime = 5 * time.Minute
	downtime    = 500 * time.Millisecond // that a guest may stand still in the end
	slowly      = 100 * mib              // bytes a second
	quickly     = 4096 * mib
)

// colds are files that a guest drops from its page cache, reads and compares, round after round. What vublk read into the
// cache after that page was sent and did not log is stale at the destination, where the round goes on.
const colds = 8

// reader is the guest's part. Each file holds a piece of the payload from another byte on: no page is like another.
const reader = `i=0
while [ ! -e /tmp/stop ]; do
	echo 1 >/proc/sys/vm/drop_caches
	cat /mnt/cold* >/dev/null
	for n in $(cat /tmp/turns); do
		tail -c +$((n + 1)) /payload | head -c 512k | cmp - /mnt/cold$n || exit 3
	done
	i=$((i + 1))
done
echo $i`

// turn is where in the payload the content of a cold file begins.
func turn(i int) int { return 1 + 70007*i }

const coldSize = 512 * 1024

// host is one side of a migration: a QEMU and its vublk.
type host struct {
	*vm
	vublk backend
}

// migrating is a guest that goes from host to host, all of which have the same image.
type migrating struct {
	t      *testing.T
	image  guest.Image
	device string // more properties
	now    host
}

func newMigrating(t *testing.T, device string) *migrating {
	t.Helper()
	m := &migrating{t: t, device: device, image: seededImage(t, filepath.Join(newDir(t), "disk.img"), fsSize)}
	stampImage(t, m.image)
	m.now.vublk = startVublk(t, m.image, "--num-queues=2")
	m.now.vm = startGuest(t, m.options(m.now.vublk), guest.Contents{Tools: []string{"fio"}})
	m.now.run("mount -t ext4 /dev/vda /mnt")
	for i := range colds {
		n := turn(i)
		m.now.run(fmt.Sprintf("tail -c +%d /payload | head -c %d >/mnt/cold%d; echo %d >>/tmp/turns", n+1, coldSize, n, n))
	}
	m.now.run("sync")
	return m
}

func (m *migrating) options(b backend) guest.Options {
	o := oneDisk(b.Socket, 2, m.device)
	o.Memory, o.QEMU = 384, lab.qemu
	o.Kernel, o.Append = lab.kernel.Image, hugePages
	return o
}

// load begins what goes on through all migrations: writes that are read back and compared, reads into the page cache,
// random reads past it, and memory that only the guest's CPUs write.
func (m *migrating) load() {
	m.t.Helper()
	must(m.t, m.now.Background("hammer", hammer))
	must(m.t, m.now.Background("reader", reader))
	must(m.t, m.now.Background("fio", fio))
	must(m.t, m.now.Background("churn", "while [ ! -e /tmp/stop ]; do cat /payload >/tmp/churn; usleep 1000; done"))
	m.now.rounds("1")
	m.now.run(fioReads)
}

// destination starts the other side: a vublk without the lock, a QEMU without a guest.
func (m *migrating) destination() (to host, socket string) {
	m.t.Helper()
	to.vublk = startVublk(m.t, m.image, "--num-queues=2", "--incoming")
	o := m.options(to.vublk)
	o.Dir = newDir(m.t)
	o.Initramfs, o.Incoming = filepath.Join(o.Dir, "initramfs"), filepath.Join(o.Dir, "incoming.sock")
	must(m.t, os.WriteFile(o.Initramfs, nil, 0o644)) // what was loaded there arrives, too
	to.vm = arrive(m.t, o)
	to.bootID = m.now.bootID
	return to, o.Incoming
}

// hop takes the guest to another host, and looks at what arrived.
func (m *migrating) hop() guest.Migration {
	m.t.Helper()
	from := m.now
	to, socket := m.destination()
	must(m.t, from.Pace(slowly, downtime/10))
	must(m.t, from.Migrate(socket))
	eventually(m.t, "all memory has been sent", migrateTime, func() bool {
		now, err := from.Migration()
		must(m.t, err)
		return now.RAM.Rounds > 2 || now.Status == "completed"
	})
	must(m.t, from.Pace(quickly, downtime))
	done, err := from.AwaitMigration("completed", migrateTime)
	must(m.t, err)
	if locked(m.t, from.vublk, m.image) {
		m.t.Error("the source holds a lock after the migration")
	}
	m.compare(from, to)
	to.qmp("cont", nil)
	m.now = to
	to.rounds("1")
	if !locked(m.t, to.vublk, m.image) {
		m.t.Error("the destination works without the lock")
	}
	must(m.t, from.Quit())
	must(m.t, from.vublk.Stop())
	from.Close()
	return done
}

// finish ends the load and looks at the image from the host.
func (m *migrating) finish() {
	m.t.Helper()
	g := m.now
	g.rounds("1")
	g.run("touch /tmp/stop; killall fio")
	m.t.Log("rounds of writing:", strings.TrimSpace(g.finished("hammer")))
	m.t.Log("rounds of reading:", strings.TrimSpace(g.finished("reader")))
	if r, err := g.Finished("fio", runTime); err != nil || strings.Contains(r.Output, "error") {
		m.t.Errorf("fio: %v: %s", err, r.Output)
	}
	g.run("umount /mnt")
	g.exercise("vda", "new")
	equal(m.t, "I/O errors seen by the guest", g.run("dmesg | grep -ciE 'i/o error|EXT4-fs error' || true"), "0")
	g.powerOff()
	must(m.t, g.vublk.Stop())
	files := map[string][]byte{"/new": payload}
	for name, data := range hammered {
		files[name] = data
	}
	for i := range colds {
		n := turn(i)
		files[fmt.Sprintf("/cold%d", n)] = payload[n : n+coldSize]
	}
	checkImage(m.t, m.image, files)
}

// arrive starts a QEMU that waits for a guest.
func arrive(t *testing.T, o guest.Options) *vm {
	t.Helper()
	g, err := guest.Start(o)
	must(t, err)
	t.Cleanup(func() {
		g.Close()
		if t.Failed() {
			t.Logf("%s\nQEMU said:\n%s\nconsole:\n%s", o.CommandLine(), tail(g.Log()), tail(g.Console()))
		}
	})
	return &vm{Guest: g, t: t}
}

// locked tells whether a vublk holds any lock on the image (proc_pid_fdinfo(5)).
func locked(t *testing.T, b backend, m guest.Image) bool {
	t.Helper()
	fi, err := os.Stat(m.Path)
	must(t, err)
	inode := fmt.Sprintf(":%d ", fi.Sys().(*syscall.Stat_t).Ino)
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", b.PID()))
	must(t, err)
	for _, info := range infos {
		data, err := os.ReadFile(info)
		if err != nil {
			continue // closed meanwhile
		}
		for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
			if line := lines.Text(); strings.HasPrefix(line, "lock:") && strings.Contains(line, inode) {
				return true
			}
		}
	}
	return false
}

// hops is how often a guest migrates in one test.
func hops() int {
	if lab.long {
		return 20
	}
	return 2
}

// TestMigration takes a guest that writes, verifies and reads at random from QEMU to QEMU and vublk to vublk, on one image,
// again and again.
func TestMigration(t *testing.T) {
	for name, device := range map[string]string{"split": "packed=off", "packed": "packed=on"} {
		t.Run(name, func(t *testing.T) {
			m := newMigrating(t, device)
			m.load()
			for i := range hops() {
				done := m.hop()
				t.Logf("hop %d: %d ms, of which down %d ms; %d MiB in %d rounds", i+1, done.Total, done.Downtime,
					done.RAM.Transferred/mib, done.RAM.Rounds)
			}
			m.finish()
		})
	}
}

// TestFailedMigration kills the destination when the source's guest has stopped and its image was given free. The guest goes
// on at the source, which takes the image back.
func TestFailedMigration(t *testing.T) {
	m := newMigrating(t, "")
	m.load()
	from := m.now
	for range hops() / 2 {
		to, socket := m.destination()
		from.pauseBeforeSwitchover(true)
		must(t, from.Pace(quickly, downtime))
		must(t, from.Migrate(socket))
		_, err := from.AwaitMigration("pre-switchover", migrateTime)
		must(t, err)
		if locked(t, from.vublk, m.image) {
			t.Error("the source holds a lock when its guest has stopped")
		}
		must(t, to.Kill())
		from.qmp("migrate-continue", map[string]string{"state": "pre-switchover"})
		_, err = from.AwaitMigration("failed", migrateTime)
		must(t, err)
		if from.afterMigration() != "running" {
			from.qmp("cont", nil)
		}
		from.rounds("2")
		if !locked(t, from.vublk, m.image) {
			t.Error("the source works without the lock")
		}
		to.Close()
		must(t, to.vublk.Stop())
	}
	from.pauseBeforeSwitchover(false)
	m.hop() // and the next one succeeds
	m.finish()
}

// afterMigration returns the state of a QEMU whose migration has failed. It tells of the failure while it is still in
// "finish-migrate" (7.2), and refuses "cont" until it has left that.
func (v *vm) afterMigration() string {
	v.t.Helper()
	var status struct{ Status string }
	eventually(v.t, "QEMU leaves the state finish-migrate", migrateTime, func() bool {
		must(v.t, v.QMP.Execute("query-status", nil, &status))
		return status.Status != "finish-migrate"
	})
	return status.Status
}

// pauseBeforeSwitchover has a migration wait when the guest has stopped, before its devices' state is sent.
func (v *vm) pauseBeforeSwitchover(on bool) {
	v.t.Helper()
	v.qmp("migrate-set-capabilities", map[string]any{
		"capabilities": []map[string]any{{"capability": "pause-before-switchover", "state": on}},
	})
}
