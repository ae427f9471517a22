package export

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// goesOn demands that the export serves its guest, at the socket of before.
func (s *served) goesOn() {
	s.t.Helper()
	s.guest.Submit(0, clitest.Out, 0, make([]byte, 512))
	s.guest.WantDone(0, "the old process does not go on")
	if _, err := os.Lstat(s.socket); err != nil {
		s.t.Errorf("the socket's name is gone: %v", err)
	}
}

// The image of an export that has changed hands stays locked when the old process lets go of it.
func TestTheLockChangesHands(t *testing.T) {
	s := serveImage(t, "")
	to, err := BeginTakeOver(s.Definition())
	must(t, err)
	defer to.Abort()
	must(t, to.claim())
	must(t, s.Err())
	wantFree(t, s.file, "the old process has ended", false)
}

// While its guest is being migrated an export keeps the image when it is handed over: the guest runs on.
func TestTakeOverUnderMigration(t *testing.T) {
	s := serveImage(t, "")
	must(t, s.guest.StartLog())
	to, err := BeginTakeOver(s.Definition())
	must(t, err)
	defer to.Abort()
	wantFree(t, s.file, "under way", false)
	if to.kept[kindImage] == nil {
		t.Error("the image was not handed over")
	}
}

// A process that fails after it has the socket leaves the socket its name, for the one that goes on.
func TestTakeOverThatFailsLate(t *testing.T) {
	s := serveImage(t, "")
	r := newRegistry(t)
	must(t, r.TakeOver([]Definition{s.Definition()}))
	to := r.taking[s.Definition().Name]
	_ = to.c.conn.CloseWrite()
	e, err := r.Create(s.Definition())
	must(t, err)
	e.Start()
	if e.Listened() || !errors.Is(e.Err(), ErrNotTaken) {
		t.Errorf("taken over without a word: %v", e.Err())
	}
	s.goesOn()
}

// A process that does not hear any more that it has the export does not have it.
func TestTakeOverByADeafProcess(t *testing.T) {
	s := serveImage(t, "")
	to, err := BeginTakeOver(s.Definition())
	must(t, err)
	must(t, to.c.conn.CloseRead())
	must(t, to.c.send(operatorMessage{Step: stepReady}))
	s.goesOn()
	to.Abort()
	wantFree(t, s.file, "afterwards", false)
}

// One that has waited long for the word finds what was said meanwhile.
func TestTakeOverLate(t *testing.T) {
	s := serveImage(t, "")
	to, err := BeginTakeOver(s.Definition())
	must(t, err)
	defer to.Abort()
	must(t, to.c.send(operatorMessage{Step: stepReady}))
	must(t, s.Err())
	must(t, to.c.conn.CloseRead())
	must(t, to.c.await(stepYours))
}

// What the new process could not go on with is found before the old one lets go.
func TestTakeOverWithOtherOptions(t *testing.T) {
	s := serveImage(t, "")
	second := filepath.Join(t.TempDir(), "other.raw")
	must(t, os.WriteFile(second, make([]byte, mib), 0o600))
	must(t, s.guest.Set(vhostuser.RequestSetVringBase, vhostusertest.VringState(7, 1)))
	for name, c := range map[string]struct {
		change func(*Definition)
		want   string
	}{
		"fewer queues":  {func(d *Definition) { d.Device.NumQueues = 1 }, "num-queues"},
		"another name":  {func(d *Definition) { d.Name = "another" }, "not of this export"},
		"another image": {func(d *Definition) { d.Disk.File = second }, "another has taken its place"},
		"read-only":     {func(d *Definition) { d.Disk.ReadOnly = true }, "--read-only"},
		"no direct I/O": {func(d *Definition) { d.Disk.Direct = false }, "--direct"},
	} {
		t.Run(name, func(t *testing.T) {
			d := s.Definition()
			c.change(&d)
			r := newRegistry(t)
			must(t, r.TakeOver([]Definition{d}))
			e, err := r.Create(d)
			if err == nil {
				if e.Start(); !e.Listened() {
					err = e.Err()
				}
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			s.goesOn()
		})
	}
}

// Of several exports none is taken over when one of them cannot be.
func TestTakeOverOfSeveral(t *testing.T) {
	s, other := serveImage(t, ",name=first"), serveImage(t, ",name=second")
	first, second := s.Definition(), other.Definition()
	second.Disk.ReadOnly = true
	r := newRegistry(t)
	must(t, r.TakeOver([]Definition{first, second}))
	one, err := r.Create(first)
	must(t, err)
	two, err := r.Create(second)
	must(t, err)
	Start(one, two)
	if two.Err() == nil {
		t.Error("taken over with another option")
	}
	select {
	case <-one.Ready():
		t.Error("the first was taken over alone")
	case <-time.After(200 * time.Millisecond):
	}
	must(t, one.end())
	s.goesOn()
	other.goesOn()
}

// An image that was given free is not locked by the process that takes its export over: it is another's.
func TestTakeOverAfterRelease(t *testing.T) {
	s := serveImage(t, "")
	must(t, s.guest.Stop())
	must(t, Release(s.socket))
	r := newRegistry(t)
	must(t, r.TakeOver([]Definition{s.Definition()}))
	e, err := r.Create(s.Definition())
	must(t, err)
	e.Start()
	if !e.Listened() {
		t.Fatal(e.Err())
	}
	must(t, s.Err())
	wantFree(t, s.file, "in the new process", true)
	must(t, s.guest.Start())
	s.goesOn()
	wantFree(t, s.file, "when the guest goes on", false)
}

// A disk that grows while its export is about to change hands has grown for its guest, in whichever process it goes on.
func TestGrowDuringTakeOver(t *testing.T) {
	s := serveImage(t, "")
	to, err := BeginTakeOver(s.Definition())
	must(t, err)
	_, err = s.truncate(2*mib, false)
	must(t, err)
	to.Abort()
	s.goesOn()
	s.told(1)
	s.sees(2 * mib)
}

// An order whose giver has given up is not carried out later.
func TestOrderThatCameToNothing(t *testing.T) {
	s := serveImage(t, "")
	must(t, s.guest.Stop())
	to, err := BeginTakeOver(s.Definition())
	must(t, err)
	c, err := order(s.socket, doRelease)
	must(t, err)
	c.close()
	to.Abort()
	for range 2 { // whichever of them comes first
		to, err = BeginTakeOver(s.Definition())
		must(t, err)
		to.Abort()
	}
	wantFree(t, s.file, "released for nobody", false)
}
