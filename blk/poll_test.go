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
	p.polled(inVain)
	p.slept(longSleep)
	if p.window != 0 {
		t.Errorf("after a long sleep the window is %v", p.window)
	}
	p.slept(shortSleep)
	if p.window != autoWindowStart {
		t.Errorf("one burst after another: window %v, want %v", p.window, autoWindowStart)
	}
}

// What became of windows.
var (
	inVain = look{spent: autoWindowMax}
	soon   = look{found: true, spent: findWorth / 5}
	late   = look{found: true, spent: autoWindowMax - time.Microsecond}
	robbed = look{robbed: true, spent: findWorth}
)

// pauseLength is how many short sleeps it takes until there is a window again, but for the one that opens it.
func (p *poller) pauseLength() int {
	n := 0
	for ; p.window == 0; n++ {
		p.slept(shortSleep)
	}
	return n - 1
}

// fail polls until the window is given up, and returns after how many looks.
func (p *poller) fail(l look) int {
	for n := 1; ; n++ {
		if p.polled(l); p.window == 0 {
			return n
		}
		p.slept(shortSleep)
	}
}

// TestPollingInVain is about a CPU that is shared with whoever makes the work: what is looked for comes as soon as we
// stop looking.
func TestPollingInVain(t *testing.T) {
	p := warm()
	for want := doubtMin; want < 4*doubtMax; want *= 2 {
		if n := p.fail(inVain); n > 10 {
			t.Errorf("given up after %d looks", n)
		}
		if n := p.pauseLength(); n != min(want, doubtMax) {
			t.Fatalf("tried again after %d short sleeps, want %d", n, min(want, doubtMax))
		}
	}
	for range 20 {
		p.polled(soon)
	}
	if p.doubt != doubtMin {
		t.Errorf("after 20 finds the next pause lasts %d", p.doubt)
	}
}

// TestPollingMustPay: finds pay for looks, when they come soon enough and often enough.
func TestPollingMustPay(t *testing.T) {
	for name, c := range map[string]struct {
		looks []look
		pays  bool
	}{
		"always soon":              {[]look{soon}, true},
		"late":                     {[]look{late}, false},
		"one of two":               {[]look{soon, inVain}, false},
		"two of three":             {[]look{soon, soon, inVain}, false},
		"four of five":             {[]look{soon, soon, soon, soon, inVain}, true},
		"late now and then":        {[]look{late, soon, soon}, true},
		"never, by a short window": {[]look{{spent: autoWindowStart}}, false},
	} {
		p := warm()
		gaveUp := false
		for i := range 1000 {
			p.polled(c.looks[i%len(c.looks)])
			gaveUp = gaveUp || p.window == 0
			p.slept(shortSleep)
		}
		if gaveUp == c.pays {
			t.Errorf("%s: given up %v", name, gaveUp)
		}
	}
}

// TestCreditIsBounded: a worker whose load changes does not poll in vain for as long as it has polled with success.
func TestCreditIsBounded(t *testing.T) {
	p := warm()
	for range 1_000_000 {
		p.polled(soon)
	}
	if n := p.fail(inVain); n > 20 {
		t.Errorf("given up after %d looks in vain", n)
	}
}

func TestRobbedOfTheCPU(t *testing.T) {
	p := warm()
	p.polled(robbed)
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
		for range 100 {
			p.polled(inVain)
			p.polled(robbed)
			p.slept(shortSleep)
			p.slept(longSleep)
		}
		if p.window != m.window {
			t.Errorf("--poll=%v became %v", m, p.window)
		}
	}
}
