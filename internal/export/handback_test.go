package export

import (
	"os"
	"testing"

	"github.com/vublk/vublk/internal/cli/clitest"
)

// goesOn demands that the export serves its guest, at the socket of before.
func (s *served) goesOn() {
	s.t.Helper()
	s.guest.Submit(0, clitest.Out, 0, make([]byte, 512))
	if status, ok := s.guest.Done(0, clitest.Patience); !ok || status != clitest.StatusOK {
		s.t.Fatalf("the old process does not go on: %v, status %d", ok, status)
	}
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
	if e.Listened() || e.Err() == nil {
		t.Error("taken over without a word")
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
