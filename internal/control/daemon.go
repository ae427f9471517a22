package control

import (
	"context"
	"time"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/export"
)

// Daemon is what a Server speaks for. All methods may be called at any moment, by any goroutine, and end with ctx.
type Daemon interface {
	Create(ctx context.Context, d export.Definition, createSize int64) (Status, error)
	List(prefix string) []Status
	Get(name string) (Status, error)
	Resize(ctx context.Context, name string, size int64, shrink bool) (export.Resized, error)
	Update(ctx context.Context, name string, options map[string]string, disconnect bool) (Status, error)
	Drain(ctx context.Context, name string) (Status, error)
	Start(ctx context.Context, name string) (Status, error)
	Delete(ctx context.Context, name string, force bool) error
	ClearError(ctx context.Context, name string) (bool, error)
	Stats() ([]Stats, []blk.WorkerStats)
	Subscribe(names []string) Subscription
	Info() Info
}

// Subscription brings events.
type Subscription interface {
	// Events is closed when there will be no more: Err then says why.
	Events() <-chan Event
	Err() error
	Close()
}

// State is where an export is in its life.
type State int

// States.
const (
	Created State = iota
	WaitingForLock
	Listening
	Attached
	Draining
	Drained
	Failed
)

// Status is an export as it is now.
type Status struct {
	Definition    export.Definition
	State         State
	Error         string
	Capacity      int64 // bytes
	FrontEnd      string
	FlushError    bool
	RunningQueues int
	BrokenQueues  int
	Resumes       uint64
}

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

// Event is something that happened.
type Event struct {
	Time    time.Time
	Name    string
	Kind    EventKind
	State   State
	Message string
}

// Info tells about the daemon.
type Info struct {
	Version  string
	PID      int
	Started  time.Time
	StateDir string
	SetAside []string
	Holder   string
}

// ErrorKind says what stands in the way.
type ErrorKind int

// Kinds of errors.
const (
	Internal ErrorKind = iota
	NotFound
	AlreadyExists
	FailedPrecondition
	Unavailable
)

// Error is a reason not to do what was asked for.
type Error struct {
	Kind ErrorKind
	Text string
}

func (e *Error) Error() string { return e.Text }
