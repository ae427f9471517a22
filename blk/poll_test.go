package blk

import (
	"testing"
	"time"
)

const (
	shortSleep = 5 * time.Microsecond
	longSleep  = time.Millisecond
)

// warm is a poller whose window has grown to its largest.
func warm() poller {
	p := newPoller(PollAuto)
	for range 4 {
		p.slept(shortSleep)
	}
	return p
}

func TestWindowGrowsWhileItPays(t *testing.T) {
	p := newPoller(PollAuto)
	var windows []time.Duration
	for range 5 {
		windows = append(windows, p.window)
		p.slept(shortSleep)
	}
	for i, want := range []time.Duration{0, 10 * time.Microsecond, 20 * time.Microsecond, 40 * time.Microsecond, autoWindowMax} {
		if windows[i] != want {
			t.Errorf("after %d short sleeps the window is %v, want %v", i, windows[i], want)
		}
	}
}

func TestNoWindowWhenIdle(t *testing.T) {
	p := warm()
	p.polled(false)
	p.slept(longSleep)
	if p.window != 0 {
		t.Errorf("after a long sleep the window is %v", p.window)
	}
	p.slept(shortSleep)
	if p.window != autoWindowStart {
		t.Errorf("one burst after another: window %v, want %v", p.window, autoWindowStart)
	}
}

// pause is how many short sleeps it takes until there is a window again.
func (p *poller) pauseLength() int {
	n := 0
	for ; p.window == 0; n++ {
		p.slept(shortSleep)
	}
	return n - 1 // the one after the pause opens the window
}

// TestPollingInVain is about a CPU that is shared with whoever makes the work: what is looked for comes as soon as we
// stop looking.
func TestPollingInVain(t *testing.T) {
	p := warm()
	want := doubtMin
	for round := range 10 {
		for range inVainMax {
			p.polled(false)
			p.slept(shortSleep)
		}
		// The sleep after the last window was part of the pause.
		if n := p.pauseLength() + 1; n != want {
			t.Fatalf("round %d: tried again after %d short sleeps, want %d", round, n, want)
		}
		want = min(2*want, doubtMax)
	}
	for range 20 {
		p.polled(true)
	}
	if p.doubt != doubtMin {
		t.Errorf("after 20 successes the next pause lasts %d", p.doubt)
	}
}

func TestSuccessForgivesFailures(t *testing.T) {
	p := warm()
	for range 100 {
		for range inVainMax - 1 {
			p.polled(false)
			p.slept(shortSleep)
		}
		p.polled(true)
	}
	if p.window != autoWindowMax {
		t.Errorf("window %v, although one of %d finds something", p.window, inVainMax)
	}
}

func TestRobbedOfTheCPU(t *testing.T) {
	p := warm()
	p.robbed()
	if n := p.pauseLength(); p.won != 0 || p.lost != 1 || n != doubtMin {
		t.Errorf("won %d, lost %d, pause %d", p.won, p.lost, n)
	}
}

func TestFixedWindowStays(t *testing.T) {
	mode, err := ParsePoll("30us")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []PollMode{mode, PollOff} {
		p := newPoller(m)
		for range 10 * inVainMax {
			p.polled(false)
			p.robbed()
			p.slept(shortSleep)
			p.slept(longSleep)
		}
		if p.window != m.window {
			t.Errorf("--poll=%v became %v", m, p.window)
		}
	}
}
