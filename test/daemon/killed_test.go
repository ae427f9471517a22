package daemon

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// stages of a guest's life, in kills of the daemon: all are there before the first of them, and stay so until the last.
type stages struct{ change, remove, all int64 }

// live takes a guest from the creation of its export to its end, with kills at any moment.
func (g *guest) live(s stages, there *atomic.Int64) error {
	g.pause(2 * time.Second)
	if err := g.create(); err != nil {
		return err
	}
	if err := g.attach(); err != nil {
		return err
	}
	there.Add(1)
	steps := []struct {
		kills int64
		do    func() error
	}{{s.change, g.grow}, {s.change, g.change}, {s.remove, g.settle}, {s.remove, g.remove}}
	for _, step := range steps {
		if err := g.meanwhile(func() error {
			for (g.site.kills.Load() < step.kills || there.Load() < int64(len(g.site.guests))) && !g.site.broken.Load() {
				time.Sleep(nap)
			}
			g.pause(2 * time.Second)
			return step.do()
		}); err != nil || g.site.broken.Load() {
			return err
		}
		g.size = int(g.ask().size)
	}
	return g.verify()
}

// meanwhile has the guest work while f runs.
func (g *guest) meanwhile(f func() error) error {
	var quit atomic.Bool
	done := make(chan error, 1)
	go func() {
		done <- f()
		quit.Store(true)
	}()
	g.site.fail(g.work(&quit))
	return <-done
}

// pause lets a time by chance pass.
func (g *guest) pause(most time.Duration) { time.Sleep(time.Duration(g.when.Int64N(int64(most)))) }

// lives has all guests live while the daemon is killed n times.
func (s *site) lives(st stages) {
	s.t.Helper()
	begin, before := time.Now(), s.kills.Load()
	s.missed = 0
	var there atomic.Int64
	killed := make(chan error, 1)
	go func() { killed <- s.harry(int(st.all)) }()
	s.each(func(g *guest) error { return g.live(st, &there) })
	s.fail(<-killed)
	var requests, resumes int
	for _, g := range s.guests {
		requests, resumes = requests+g.requests, resumes+g.resumes
		if g.front != nil {
			if err := g.front.Close(); err != nil {
				s.t.Error(err)
			}
			g.front = nil
		}
	}
	if s.t.Failed() {
		s.t.FailNow()
	}
	s.t.Logf("%d exports created, resized, changed and deleted under I/O in %v; %d kills, %d requests, connected again %d times; all definitions listed %v after a kill at most",
		len(s.guests), time.Since(begin).Round(time.Millisecond), s.kills.Load()-before, requests, resumes, s.missed.Round(time.Millisecond))
}

// TestKilled has two hundred guests whose daemon is killed ten times, and then, twice on the same process, two hundred more:
// those leave nothing behind.
func TestKilled(t *testing.T) {
	s := newSite(t, 200)
	if _, err := s.client.list(); err != nil {
		t.Fatal(err)
	}
	fresh := s.use()
	s.lives(stages{change: 4, remove: 7, all: 10})
	s.again()
	s.lives(stages{})
	s.empty(fresh)
	s.again()
	s.lives(stages{})
	s.empty(fresh)
}

// TestKilledSupervised has guests that cannot connect again: the supervisor keeps their sessions.
func TestKilledSupervised(t *testing.T) {
	s := newSite(t, 40, "--supervise")
	s.supervise()
	if _, err := s.client.list(); err != nil {
		t.Fatal(err)
	}
	fresh := s.use()
	s.lives(stages{change: 3, remove: 6, all: 8})
	if slices.ContainsFunc(s.guests, func(g *guest) bool { return g.resumes > 0 }) {
		t.Error("a guest has connected again")
	}
	s.empty(fresh)
}
