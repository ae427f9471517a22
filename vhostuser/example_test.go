package vhostuser_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime/debug"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// check ends an example; a program returns its errors.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// dice is a device of one's own that is no disk: it fills what its driver sends, as an entropy device does (virtio-v1.3 5.4),
// but with fours. It looks at its queue when that is started or changed, on the session's goroutine. One that also looks when it
// is kicked (Queue.KickFD) has a goroutine for that, and every method here reaches the queue through it.
type dice struct{ queue *virtio.Queue }

func (d *dice) Features() uint64                 { return uint64(virtio.FeatureVersion1) }
func (d *dice) SetFeatures(uint64) error         { return nil }
func (d *dice) ReadConfig(b []byte, _ uint32)    { clear(b) } // there is none
func (d *dice) WriteConfig([]byte, uint32) error { return errors.New("there is nothing to write") }
func (d *dice) SetLog(*guestmem.DirtyLog) error  { return nil } // a guest that migrates would need it

// SetMemory brings the guest's memory. The queue may be broken by that, which is the guest's affair.
func (d *dice) SetMemory(t *guestmem.Table) error {
	if d.queue != nil {
		_ = d.queue.SetMemory(t)
	}
	return nil
}

// SetMemo would let a successor of this process know what the driver has chosen.
func (d *dice) SetMemo(m *guestmem.Region) error {
	if m != nil {
		m.Close()
	}
	return nil
}

// StartQueue brings the queue, checked as a whole.
func (d *dice) StartQueue(_ int, q *virtio.Queue) error {
	d.queue = q
	d.roll()
	return nil
}

// UpdateQueue is how the session enables the queue, or gives it other eventfds.
func (d *dice) UpdateQueue(_ int, f func(*virtio.Queue)) error {
	f(d.queue)
	d.roll()
	return nil
}

// StopQueue answers where another back-end could go on.
func (d *dice) StopQueue(int) (base virtio.Base, err error) {
	defer guestmem.Recover(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	q := d.queue
	d.queue = nil
	base, err = q.Stop()
	if e := q.Close(); err == nil {
		err = e
	}
	return base, err
}

// Reset is also the end of the session.
func (d *dice) Reset() error {
	if d.queue == nil {
		return nil
	}
	_, err := d.StopQueue(0)
	return err
}

// roll serves what there is. A driver that breaks the rules has broken its queue, and nothing else.
func (d *dice) roll() {
	if err := d.fill(); err != nil {
		d.queue.Break(err)
	}
}

func (d *dice) fill() (err error) {
	defer guestmem.Recover(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	chain := virtio.NewChain()
	for {
		more, err := d.queue.Next(chain)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		n := guestmem.CopyOut(chain.Writable, bytes.Repeat([]byte("4"), int(min(chain.WritableLen, 64))))
		d.queue.Push(chain.Token, uint32(n))
	}
	_, err = d.queue.Publish()
	return err
}

// A session with a device of one's own, and a front-end (for tests; elsewhere QEMU) whose driver uses it.
func Example() {
	conn, sock, err := vhostusertest.Pair() // in a program: Listen, and AcceptUnix
	check(err)
	session := vhostuser.NewSession(sock, &dice{}, vhostuser.Options{Queues: 1})
	ended := make(chan error, 1)
	go func() { ended <- session.Serve(context.Background()) }()

	front, err := vhostusertest.New(conn, vhostusertest.Options{})
	check(err)
	at, err := front.Memory().Alloc(6, 1)
	check(err)
	_, err = front.Queue(0).Add(virtiotest.Request{Writable: []virtiotest.Area{{GPA: at, Len: 6}}})
	check(err)
	_, err = front.Queue(0).Publish()
	check(err)
	check(front.Start()) // acknowledged when the device has the queue
	done, ok, err := front.Queue(0).Reap()
	check(err)
	fmt.Println(front.Features(), ok, done.Len, string(front.Memory().Bytes(at, 6)))

	check(front.Close())
	fmt.Println("the front-end has gone:", <-ended)
	// Output:
	// VERSION_1 true 6 444444
	// the front-end has gone: <nil>
}
