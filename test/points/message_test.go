package points

import (
	"fmt"
	"testing"
)

// formats runs a test with split rings and with packed ones.
func formats(t *testing.T, f func(t *testing.T, packed bool)) {
	for name, packed := range map[string]bool{"split": false, "packed": true} {
		t.Run(name, func(t *testing.T) { f(t, packed) })
	}
}

// TestNoDeath is the script alone.
func TestNoDeath(t *testing.T) {
	formats(t, func(t *testing.T, packed bool) {
		l := begin(t, plan{packed: packed})
		l.session()
		l.end(0)
	})
}

// TestEveryMessageAndItsSuccessors has each worker die at its first, or second, message: each message of the session is one
// that a worker dies in.
func TestEveryMessageAndItsSuccessors(t *testing.T) {
	formats(t, func(t *testing.T, packed bool) {
		// Where a successor handles the message again, it is the next one's turn.
		for _, point := range []string{"message-handled:2", "message-kept:2", "answer-kept", "message-consumed"} {
			t.Run(point, func(t *testing.T) {
				t.Parallel()
				l := begin(t, plan{packed: packed, every: point})
				l.session()
				l.end(-1)
				if l.deaths() < 20 {
					t.Fatalf("only %d deaths", l.deaths())
				}
				t.Logf("%d deaths", l.deaths())
			})
		}
	})
}

// TestEachMessage has one worker die, at the nth message, for every n; the next one does the rest.
func TestEachMessage(t *testing.T) {
	for _, c := range []struct {
		point  string
		unsure bool // sometimes
	}{
		{"session-kept", false},
		{"message-handled", false},
		{"message-kept", false},
		{"state-stored", true}, // the first one: nothing says what the connection is
		{"state-saved", false},
		{"answer-kept", false},
		{"message-consumed", false},
		{"answer-due", true}, // the answer with a descriptor
		{"answer-sent", true},
		{"ring-kept", false},
	} {
		t.Run(c.point, func(t *testing.T) {
			t.Parallel()
			total, lost := 0, 0
			for _, packed := range []bool{false, true} {
				for n, died := 1, 1; died > 0; n++ {
					var connections int
					died, connections = one(t, plan{packed: packed, points: []string{fmt.Sprintf("%s:%d", c.point, n)}, unsure: c.unsure})
					total, lost = total+died, lost+connections
				}
			}
			if total == 0 {
				t.Fatal("the point is never reached")
			}
			t.Logf("%d deaths, %d connections lost", total, lost)
			if lost > 4 { // of two formats: the one answer with a descriptor, asked for at each boot
				t.Errorf("%d connections lost", lost)
			}
		})
	}
}

// one runs the script once.
func one(t *testing.T, p plan) (deaths, lost int) {
	t.Helper()
	l := begin(t, p)
	l.session()
	l.end(-1)
	return l.deaths(), l.lost
}
