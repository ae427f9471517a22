package control

import (
	"context"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/daemon"
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

// What the daemon says.
type (
	// State is where an export is in its life.
	State = daemon.State
	// Status is an export as it is now.
	Status = daemon.Status
	// Stats are what an export has counted.
	Stats = daemon.Stats
	// EventKind is what happened.
	EventKind = daemon.EventKind
	// Event is something that happened.
	Event = daemon.Event
	// Info tells about the daemon.
	Info = daemon.Info
	// ErrorKind says what stands in the way.
	ErrorKind = daemon.ErrorKind
	// Error is a reason not to do what was asked for.
	Error = daemon.Error
)

// For is d as a Server needs it.
func For(d *daemon.Daemon) Daemon { return subscribed{d} }

// subscribed has Subscribe return the interface.
type subscribed struct{ *daemon.Daemon }

// Subscribe implements Daemon.
func (d subscribed) Subscribe(names []string) Subscription { return d.Daemon.Subscribe(names) }

// States of an export.
const (
	Created        = daemon.Created
	WaitingForLock = daemon.WaitingForLock
	Listening      = daemon.Listening
	Attached       = daemon.Attached
	Draining       = daemon.Draining
	Drained        = daemon.Drained
	Failed         = daemon.Failed
)

// Kinds of events.
const (
	EventCreated = daemon.EventCreated
	EventState   = daemon.EventState
	EventResized = daemon.EventResized
	EventUpdated = daemon.EventUpdated
	EventDeleted = daemon.EventDeleted
	EventError   = daemon.EventError
	EventCleared = daemon.EventCleared
)

// Kinds of errors.
const (
	Internal           = daemon.Internal
	NotFound           = daemon.NotFound
	AlreadyExists      = daemon.AlreadyExists
	FailedPrecondition = daemon.FailedPrecondition
	Unavailable        = daemon.Unavailable
)
