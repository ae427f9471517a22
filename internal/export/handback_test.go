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
