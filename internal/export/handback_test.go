package export

import "testing"

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
