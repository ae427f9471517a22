package vhostuser

import (
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// Device is what a Session drives. Calls come from one goroutine, the one in Session.Serve.
//
// Feature bits are virtio's: the Session adds and removes those of the transport (26 LOG_ALL, 30 PROTOCOL_FEATURES).
//
// A queue that a guest broke is not an error of any of these methods: StopQueue answers its base like any other's and
// SetMemory succeeds although a ring is no longer mapped. An error of SetMemory, SetLog, StopQueue or Reset ends the
// session, any other refuses the front-end's message.
type Device interface {
	// Features returns what the device offers, VERSION_1 and the ring features included.
	Features() uint64
	// SetFeatures tells what the driver accepted, as the front-end passed it on. There may be bits that Features does
	// not have: ANY_LAYOUT of a legacy driver, or what a process before this one had offered. It may come again while
	// queues run, then with the same bits as before; when they change no queue runs.
	SetFeatures(acked uint64) error
	// ReadConfig fills b with the configuration space from off on. Any offset and length; zeroes past the end.
	ReadConfig(b []byte, off uint32)
	// WriteConfig is a driver's write to the configuration space. An error refuses it and changes nothing.
	WriteConfig(b []byte, off uint32) error
	// SetMemory hands out a new memory table and returns when every worker has adopted it. The Session releases its
	// own reference when the next one is adopted; the device retains what it needs.
	SetMemory(t *guestmem.Table) error
	// SetLog has everything that requests write into guest memory marked in l from now on, nil: nowhere, and returns when
	// no worker uses the log before any more; the Session closes that. It may come while queues run. What queues write
	// of their rings is not the device's concern: the Session tells each of them by UpdateQueue.
	SetLog(l *guestmem.DirtyLog) error
	// StartQueue gives queue i to the device, which owns q from here on, also on error.
	StartQueue(i int, q *virtio.Queue) error
	// UpdateQueue runs f on the owner of started queue i and returns when f has returned. On error f did not run.
	UpdateQueue(i int, f func(*virtio.Queue)) error
	// StopQueue stops fetching from queue i, drains it, closes it and returns where it stands.
	StopQueue(i int) (virtio.Base, error)
	// SetMemo gives the device MemoSize bytes that outlive this process, all zero at first: what the driver has chosen
	// and what it was told, for a successor to go on with. The device owns m, nil: none. It comes before the first ring
	// starts, and again when the front-end brings other memory. What is in there may be forged.
	SetMemo(m *guestmem.Region) error
	// Reset stops all queues, drained, and returns the configuration space to its power-on values. The Session calls
	// it for RESET_DEVICE and at its end.
	Reset() error
}

// Suspender is a Device that does more when a queue stops than to stop it.
type Suspender interface {
	// SuspendQueue is StopQueue for a queue that starts again at once, in another process or in this one: the session is
	// suspended (Session.Suspend), and the driver is not to notice.
	SuspendQueue(i int) (virtio.Base, error)
}
