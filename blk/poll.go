package blk

import (
	"time"

	"github.com/pkg/errors"
)

// PollMode says how long a worker that has run out of work looks at its rings before it sleeps. The zero value is PollOff.
type PollMode struct {
	auto   bool
	window time.Duration
}

// The polling modes that need no duration.
var (
	PollAuto = PollMode{auto: true} // polls while that pays: what --poll is by default
	PollOff  = PollMode{}           // never
)

// maxPollWindow bounds a window that somebody asks for: beyond it a worker would look dead to a stop request.
const maxPollWindow = 10 * time.Millisecond

// ParsePoll accepts "auto", "" for the same, "off" and a duration up to 10 ms such as "50us"; an error says so.
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

// Polling has an account: the time that it spends is paid out of what it finds. A find is worth about what a sleep and the way
// back cost this side and the other, in a virtual machine. When the debt is too large, or somebody else has had the CPU,
// the worker sleeps through some short sleeps before it tries again, through twice as many each time; a find halves that.
const (
	findWorth = 25 * time.Microsecond
	debtMax   = 10 * findWorth
	creditMax = 10 * findWorth
	robbedGap = 20 * time.Microsecond // between two looks that are well below 1 us apart
	doubtMin  = 8                     // short sleeps
	doubtMax  = 1024
)

// poller is one worker's polling window. When nothing comes there is no window: an idle worker sleeps. When something
// comes soon there is one, unless looking for it costs more than it brings: a disk that is neither fast nor slow, or
// something that comes as soon as the worker sleeps, because it needed the CPU (a vCPU, a kernel thread).
type poller struct {
	mode   PollMode
	window time.Duration // current
	debt   time.Duration // negative: credit
	doubt  int           // short sleeps that the next pause will last
	pause  int           // short sleeps to go until polling is tried again

	won, lost uint64 // windows that found something, and that did not
}

func newPoller(m PollMode) poller {
	return poller{mode: m, window: m.window, doubt: doubtMin}
}

// look is what became of a polling window.
type look struct {
	found  bool
	robbed bool          // the CPU went to somebody else
	spent  time.Duration // on looking
}

// polled notes the end of a window.
func (p *poller) polled(l look) {
	p.debt += l.spent
	if l.found {
		p.won++
		p.debt = max(p.debt-findWorth, -creditMax)
		p.doubt = max(p.doubt/2, doubtMin)
	} else {
		p.lost++
	}
	if l.robbed || p.debt > debtMax {
		p.giveUp()
	}
}

func (p *poller) giveUp() {
	p.debt = 0
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
