package points

import (
	"strings"
	"testing"
	"time"
)

// TestHandOver has the worker that hands over die, or the one that takes over, or both, while a guest works.
func TestHandOver(t *testing.T) {
	for _, points := range [][]string{
		{"-"},
		{"handover-drained"},
		{"handover-drained:2"},
		{"handover-kept"},
		{"state-saved:60"},
		{"-", "resume-loaded"},
		{"-", "resume-begun"},
		{"-", "ring-kept"},
		{"-", "request-recorded"},
		{"-", "batch-published:2"},
		{"handover-kept", "resume-loaded"},
		{"handover-drained", "resume-loaded", "resume-begun"},
	} {
		t.Run(strings.Join(points, ","), func(t *testing.T) {
			t.Parallel()
			formats(t, func(t *testing.T, packed bool) {
				l := begin(t, plan{packed: packed, points: points})
				l.attach()
				l.work()
				l.upgrade()
				for end := time.Now().Add(patience); !strings.Contains(l.back.Log(), "handed over"); {
					l.work()
					if time.Now().After(end) {
						t.Fatal("it is not handed over")
					}
				}
				for range 20 {
					l.work()
				}
				l.check()
				l.session2()
				want := 0
				for _, p := range points {
					if p != "-" {
						want++
					}
				}
				if points[0] == "state-saved:60" {
					want = -1 // how many states there were is a matter of luck
				}
				l.end(want)
			})
		})
	}
}

// session2 is what else a front-end says in its life.
func (l *life) session2() {
	l.t.Helper()
	l.plug()
	l.say("stop", l.stop)
	l.say("start again", l.start)
	l.work()
	l.check()
}

// TestSessionSetUp has the worker die before the front-end has said a word, and in the middle of a session's end. What is left
// behind must not hinder the next session, which the front-end has to begin itself.
func TestSessionSetUp(t *testing.T) {
	for _, points := range [][]string{
		{"session-accepted"},
		{"session-accepted", "session-accepted"},
		{"state-stored"},
		{"session-kept"},
		{"session-forgotten"},
	} {
		t.Run(strings.Join(points, ","), func(t *testing.T) {
			formats(t, func(t *testing.T, packed bool) {
				l := begin(t, plan{packed: packed, points: points, unsure: true})
				l.session()
				l.must(l.front.Disconnect())
				if points[0] == "session-forgotten" {
					l.awaitDeath(1)
				}
				l.must(l.front.Close())
				l.queues, l.front, l.version = nil, nil, 0
				l.session()
				l.end(len(points))
			})
		})
	}
}
