package blk

import (
	"time"

	"github.com/pkg/errors"
)

// PollMode says how long a worker that has run out of work looks at its rings before it sleeps.
type PollMode struct {
	auto   bool
	window time.Duration
}

// The polling modes that need no duration.
var (
	PollAuto = PollMode{auto: true} // the default: polls while that pays
	PollOff  = PollMode{}
)

// maxPollWindow bounds a window that somebody asks for: beyond it a worker would look dead to a stop request.
const maxPollWindow = 10 * time.Millisecond

// ParsePoll accepts "auto", "off" and a duration such as "50us".
func ParsePoll(s string) (PollMode, error) {
	switch s {
	case "auto", "":
		return PollAuto, nil
	case "off":
		return PollOff, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > maxPollWindow {
		return PollMode{}, errors.Errorf("poll %q is neither auto, off, nor a duration up to %v such as 50us", s, maxPollWindow)
	}
	return PollMode{window: d}, nil
}

// String returns what ParsePoll accepts.
func (m PollMode) String() string {
	switch {
	case m.auto:
		return "auto"
	case m.window == 0:
		return "off"
	}
	return m.window.String()
}

// The adaptive window follows the way of Linux' halt polling (virt/kvm halt_poll_ns): it grows when a sleep turned out
// to be so short that polling would have caught its end, and shrinks when it was long.
const (
	autoWindowMax   = 50 * time.Microsecond
	autoWindowStart = 10 * time.Microsecond
)

// What makes a worker doubt that polling pays. Each time it does, it sleeps through twice as many short sleeps before it
// tries again; each success halves that.
const (
	inVainMax = 4                     // windows in succession at whose end there was nothing
	robbedGap = 20 * time.Microsecond // between two looks that are well below 1 us apart: somebody else had the CPU
	doubtMin  = 8                     // short sleeps
	doubtMax  = 1024
)

// poller is one worker's polling window. When nothing comes there is no window: an idle worker sleeps. When something
// comes soon there is one, unless looking for it has been in vain: then it is as if what is to come needed the CPU on
// which the worker looks for it, a vCPU or a kernel thread that shares it.
type poller struct {
	mode   PollMode
	window time.Duration // current
	inVain int           // windows since the last one that found something
	doubt  int           // short sleeps that the next pause will last
	pause  int           // short sleeps to go until polling is tried again

	won, lost uint64 // windows that found something, and that did not
}

func newPoller(m PollMode) poller {
	return poller{mode: m, window: m.window, doubt: doubtMin}
}

// polled notes the end of a window.
func (p *poller) polled(found bool) {
	if found {
		p.won++
		p.inVain = 0
		p.doubt = max(p.doubt/2, doubtMin)
		return
	}
	p.lost++
	if p.inVain++; p.inVain >= inVainMax {
		p.giveUp()
	}
}

// robbed notes that the CPU went to somebody else during a window.
func (p *poller) robbed() {
	p.lost++
	p.giveUp()
}

func (p *poller) giveUp() {
	p.inVain = 0
	if !p.mode.auto {
		return
	}
	p.window, p.pause = 0, p.doubt
	p.doubt = min(2*p.doubt, doubtMax)
}

// slept adapts the window to an idle time, from the last piece of work to the next, that ended in a sleep.
func (p *poller) slept(idle time.Duration) {
	switch {
	case !p.mode.auto:
	case idle > autoWindowMax:
		p.window = 0
	case p.pause > 0:
		p.pause--
	case p.window == 0:
		p.window = autoWindowStart
	default:
		p.window = min(2*p.window, autoWindowMax)
	}
}
