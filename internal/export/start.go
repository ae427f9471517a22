package export

import (
	"context"
	"sync/atomic"
)

// Start lets the runners of exports begin, together: none binds its socket before all have their disks and the locks of
// them, and none lets a front-end in before all have their sockets. So the export that cannot begin, which is the end of
// the others where the operator asked for all, is no guest's end. Those that wait for one that has failed wait until
// they are stopped. An export that was started before, or has ended, is left out.
func Start(exports ...*Export) {
	var begin []*Export
	for _, e := range exports {
		if e.started.CompareAndSwap(false, true) {
			begin = append(begin, e)
		}
	}
	p := newPeers(len(begin))
	for _, e := range begin {
		e.peers = p
		go e.run()
	}
}

// Start lets the runner open the disk and the socket and serve. A second call, and one after the end, do nothing.
func (e *Export) Start() { Start(e) }

// begin opens the parts, in step with the peers.
func (e *Export) begin() error {
	if err := e.openDisk(); err != nil {
		return err
	}
	ctx := e.ctx
	if _, resumes := e.heritage.resumable(); resumes && e.takeOver == nil {
		// A guest waits, and began when all its peers had been there. One that is taken over from a live process loses its
		// disk when a peer fails afterwards, so it waits.
		e.peers.disks.pass()
		defer e.peers.sockets.pass()
		var err error
		e.parts.socket, err = e.openSocket()
		return err
	}
	if err := e.peers.disks.meet(ctx); err != nil {
		return err
	}
	var err error
	if e.parts.socket, err = e.openSocket(); err != nil {
		return err
	}
	if err := e.peers.sockets.meet(ctx); err != nil {
		return err
	}
	if err := e.takeOver.claim(); err != nil {
		return err
	}
	if l, ok := e.parts.socket.(*listener); ok && e.takeOver != nil && e.holder != nil {
		// Not before: a successor that finds something kept takes nothing over.
		if err := e.storeListener(l); err != nil {
			e.log.Warn("the socket will not survive the death of vublk", "error", err)
		}
	}
	return nil
}

// peers are the exports that begin together: where they wait for each other.
type peers struct{ disks, sockets meeting }

func newPeers(n int) *peers {
	p := &peers{disks: meeting{all: make(chan struct{})}, sockets: meeting{all: make(chan struct{})}}
	p.disks.missing.Store(int32(n))
	p.sockets.missing.Store(int32(n))
	return p
}

// meeting is a point at which all wait for the last.
type meeting struct {
	missing atomic.Int32
	all     chan struct{}
}

// pass is meet for one that does not wait.
func (m *meeting) pass() {
	if m.missing.Add(-1) == 0 {
		close(m.all)
	}
}

// meet returns when all are there, or with an error when ctx ends.
func (m *meeting) meet(ctx context.Context) error {
	m.pass()
	select {
	case <-m.all:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
