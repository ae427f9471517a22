package export

import (
	"strings"
	"testing"
)

func TestStateWays(t *testing.T) {
	all := []State{Created, WaitingForLock, Listening, Attached, Draining, Closed}
	legal := map[State]string{
		Created: "waiting for lock, closed", WaitingForLock: "listening, closed", Listening: "attached, closed",
		Attached: "draining", Draining: "listening, closed", Closed: "",
	}
	for _, from := range all {
		var to []string
		for _, next := range all {
			if changes(from, next) {
				to = append(to, next.String())
			}
		}
		if got := strings.Join(to, ", "); got != legal[from] {
			t.Errorf("from %v: %q, want %q", from, got, legal[from])
		}
	}
	if got := State(9).String(); got != "state 9" {
		t.Error(got)
	}
}

// changes tells whether there is a way; where there is none the state must stay.
func changes(from, to State) (ok bool) {
	var s state
	s.now.Store(int32(from))
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	s.change(to)
	return s.load() == to
}
