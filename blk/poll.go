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

// poller is one worker's polling window.
type poller struct {
	mode   PollMode
	window time.Duration // current
}

func newPoller(m PollMode) poller {
	return poller{mode: m, window: m.window}
}

// slept adapts the window to a sleep of length d that ended because there was work.
func (p *poller) slept(d time.Duration) {
	if !p.mode.auto {
		return
	}
	switch {
	case d > autoWindowMax:
		p.window = 0
	case p.window == 0:
		p.window = autoWindowStart
	default:
		p.window = min(2*p.window, autoWindowMax)
	}
}
