package daemon

import (
	"slices"
	"sync"
	"time"
)

// EventKind is what happened.
type EventKind int

// Kinds of events.
const (
	EventCreated EventKind = iota
	EventState
	EventResized
	EventUpdated
	EventDeleted
	EventError
	EventCleared
)

// Event is something that happened to an export, or, without a name, to the daemon.
type Event struct {
	Time    time.Time
	Name    string
	Kind    EventKind
	State   State  // of EventState
	Message string // for people
}

// maxBehind is how many events a subscription may be behind.
const maxBehind = 1024

// Subscription brings the events from its beginning on.
type Subscription struct {
	hub    *hub
	names  []string // empty: all
	events chan Event

	err error // why events was closed; written before that
}

// Events is closed when there will be no more; Err then says why.
func (s *Subscription) Events() <-chan Event { return s.events }

// Err tells why Events was closed. Call it then only.
func (s *Subscription) Err() error { return s.err }

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() { s.hub.end(s, nil) }

// hub passes events on. Publishing never waits.
type hub struct {
	mu     sync.Mutex
	subs   map[*Subscription]bool
	closed bool
}

func newHub() *hub { return &hub{subs: map[*Subscription]bool{}} }

func (h *hub) subscribe(names []string) *Subscription {
	s := &Subscription{hub: h, names: slices.Clone(names), events: make(chan Event, maxBehind)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs[s] = true
	if h.closed {
		h.endLocked(s, errEnding)
	}
	return s
}

func (h *hub) publish(e Event) {
	e.Time = time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if len(s.names) > 0 && (e.Name == "" || !slices.Contains(s.names, e.Name)) {
			continue
		}
		select {
		case s.events <- e:
		default:
			h.endLocked(s, errorf(Unavailable, "%d events were not read: subscribe again, and look at all exports first", maxBehind))
		}
	}
}

func (h *hub) end(s *Subscription, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endLocked(s, err)
}

func (h *hub) endLocked(s *Subscription, err error) {
	if h.subs[s] {
		delete(h.subs, s)
		s.err = err
		close(s.events)
	}
}

// close ends all subscriptions, and those that come later.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subs {
		h.endLocked(s, errEnding)
	}
}

var errEnding = &Error{Kind: Unavailable, Text: "the daemon is ending"}
