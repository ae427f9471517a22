package daemon

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/errors"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/test/driver"
	e2e "github.com/vublk/vublk/test/e2e/guest"
)

// site is a daemon and its guests.
type site struct {
	t       *testing.T
	r       *rand.Rand
	dir     string
	args    []string
	client  client
	process *e2e.Backend
	worker  int // of a supervised daemon, which is what is killed

	supervised bool
	guests     []*guest
	epoch      atomic.Int64 // kills after which guests must connect again
	kills      atomic.Int64
	killed     driver.Turn // the last time, or when all began
	broken     atomic.Bool // something is wrong: all give up
	missed     time.Duration
}

// newSite starts a daemon with no exports. The end of the test demands that it ends well.
func newSite(t *testing.T, guests int, args ...string) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "vublk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Logf("VUBLK_SEED=%#x", lab.seed)
	s := &site{
		t: t, r: rand.New(rand.NewPCG(lab.seed, 1<<32)), dir: dir, client: client{filepath.Join(dir, "control.sock")},
		args: append([]string{
			lab.vublk, "daemon", "--state-dir=" + filepath.Join(dir, "state"), "--listen=" + filepath.Join(dir, "control.sock"), "--workers=2", "--log-level=warn",
		}, args...),
	}
	s.killed.Mark()
	for i := range guests {
		s.guests = append(s.guests, newGuest(s, i))
	}
	s.start()
	t.Cleanup(func() {
		for _, g := range s.guests {
			if g.front != nil {
				_ = g.front.Close()
			}
		}
		if err := s.process.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			log := s.process.Log()
			t.Logf("the daemon's log ends with:\n%s", log[max(0, len(log)-5000):])
		}
	})
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) start() {
	var err error
	if s.process, err = e2e.StartBackend(s.path("log"), []string{s.client.socket}, s.args...); err != nil {
		s.t.Fatal(err)
	}
}

// supervise takes note of the process that does the work.
func (s *site) supervise() {
	s.t.Helper()
	s.supervised = true
	var err error
	if s.worker, err = s.process.Worker(0); err != nil {
		s.t.Fatal(err)
	}
}

// kill ends the daemon as nothing else does, and has another one.
func (s *site) kill() error {
	s.kills.Add(1)
	s.killed.Mark()
	defer s.killed.Mark() // a process may be long in dying
	if s.supervised {
		if err := e2e.KillProcess(s.worker); err != nil {
			return err
		}
		var err error
		s.worker, err = s.process.Worker(s.worker)
		return err
	}
	s.process.Kill()
	var err error
	if s.process, err = e2e.StartBackend(s.path("log"), nil, s.args...); err != nil {
		return err
	}
	s.epoch.Add(1)
	return nil
}

// harry kills n times, at moments by chance, and looks at the definitions after each.
func (s *site) harry(n int) error {
	for range n {
		time.Sleep(time.Duration(s.r.IntN(1500)) * time.Millisecond) // a moment by chance is what is wanted
		if s.broken.Load() {
			return nil
		}
		begin := time.Now()
		if err := s.kill(); err != nil {
			return err
		}
		if err := s.compare(); err != nil {
			return err
		}
		s.missed = max(s.missed, time.Since(begin))
	}
	return nil
}

// compare lists the exports, and demands what the guests know.
func (s *site) compare() error {
	before := make([]known, len(s.guests))
	for i, g := range s.guests {
		before[i] = g.ask()
	}
	list, err := s.client.list()
	if err != nil {
		return err
	}
	listed := map[string]*vublkv1.Export{}
	for _, e := range list {
		listed[e.GetDefinition().GetName()] = e
	}
	for i, g := range s.guests {
		k, e := before[i], listed[g.name]
		delete(listed, g.name)
		if k.version != g.ask().version || k.maybe {
			continue
		}
		if err := k.judge(e); err != nil {
			return errors.Wrapf(err, "export %q after %d kills", g.name, s.kills.Load())
		}
	}
	for name := range listed {
		return errors.Errorf("export %q, of which nobody knows", name)
	}
	return nil
}

// judge compares an export, nil: there is none, with what is known.
func (k *known) judge(e *vublkv1.Export) error {
	timeout := e.GetDefinition().GetLockTimeoutNs()
	switch {
	case k.there != (e != nil):
		return errors.Errorf("there: %v, want %v", e != nil, k.there)
	case e == nil:
		return nil
	case timeout != k.timeouts[0] && timeout != k.timeouts[1]:
		return errors.Errorf("lock_timeout_ns is %d, want one of %d", timeout, k.timeouts)
	case e.GetState() == vublkv1.State_STATE_FAILED || e.GetState() == vublkv1.State_STATE_DRAINED:
		return errors.Errorf("%v: %s", e.GetState(), e.GetError())
	case e.GetCapacityBytes() != 0 && e.GetCapacityBytes() < k.size:
		return errors.Errorf("it has %d bytes, want %d", e.GetCapacityBytes(), k.size)
	}
	return nil
}

// fail has all give up because of the first error.
func (s *site) fail(err error) {
	if err != nil && !s.broken.Swap(true) {
		s.t.Error(err)
	}
}

// each has all guests do something at the same time.
func (s *site) each(f func(*guest) error) {
	s.t.Helper()
	var all sync.WaitGroup
	for _, g := range s.guests {
		all.Go(func() { s.fail(f(g)) })
	}
	all.Wait()
}

// usage is what the working process holds.
type usage struct {
	memory    e2e.Memory
	fds, maps int // maps: shared ones
}

func (u usage) String() string {
	return fmt.Sprintf("%d KiB in memory (%d anonymous, %d shared, %d of the program), %d descriptors, %d shared mappings",
		u.memory.RSS(), u.memory.Anon, u.memory.Shmem, u.memory.File, u.fds, u.maps)
}

func (s *site) use() (u usage) {
	s.t.Helper()
	pid := s.process.PID()
	if s.supervised {
		pid = s.worker
	}
	var err error
	if u.memory, err = e2e.ResidentMemory(pid); err != nil {
		s.t.Fatal(err)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		s.t.Fatal(err)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range bytes.Lines(maps) {
		if f := strings.Fields(string(line)); len(f) > 1 && strings.HasSuffix(f[1], "s") {
			u.maps++
		}
	}
	u.fds = len(fds)
	return u
}

// again has new guests, with exports that were not there before.
func (s *site) again() {
	for i, g := range s.guests {
		s.guests[i] = newGuest(s, g.number+len(s.guests))
	}
}

// holes is what memory of its own a process may keep, in KiB, that has served two hundred busy guests and has none any more: what
// Go's heap and stacks hold, 13 to 15 MiB beside 3 MiB of objects, once it has tidied.
const holes = 20 << 10

// kept tells whether a process has no more memory than before but for the holes, and of its program what there is of it: how much
// of that was in memory at the beginning is the kernel's business.
func kept(before, now e2e.Memory, program int) bool {
	return now.Anon+now.Shmem <= before.Anon+before.Shmem+holes && now.File <= program
}

// empty waits until the daemon holds no more than before, but for what kept allows. It demands that everything is forgotten.
func (s *site) empty(before usage) {
	s.t.Helper()
	file, err := os.Stat(lab.vublk)
	if err != nil {
		s.t.Fatal(err)
	}
	program := int(file.Size() >> 10)
	begin := time.Now()
	var now usage
	for ; ; time.Sleep(50 * time.Millisecond) {
		now = s.use()
		if now.fds <= before.fds && now.maps <= before.maps && kept(before.memory, now.memory, program) {
			break
		}
		if time.Since(begin) > 20*time.Second {
			s.t.Fatalf("it held %v, and holds %v now; its program has %d KiB", before, now, program)
		}
	}
	s.t.Logf("held %v at the beginning, %v now, after %v; the program has %d KiB", before, now, time.Since(begin).Round(time.Millisecond), program)
	list, err := s.client.list()
	if err != nil || len(list) > 0 {
		s.t.Errorf("listed: %v, %v", list, err)
	}
	files, err := os.ReadDir(s.path("state"))
	if err != nil || len(files) != 1 { // the lock
		s.t.Errorf("the state directory has %v, %v", files, err)
	}
	sockets, err := filepath.Glob(s.path("[0-9]*.sock"))
	if err != nil || len(sockets) > 0 {
		s.t.Errorf("sockets are left: %v, %v", sockets, err)
	}
}
