package blk

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// padded is a counter on a cache line of its own, with one writer.
type padded struct {
	n atomic.Uint64
	_ [56]byte
}

// flushState is what a Disk's durability is decided by. Modifications are counted by each worker, before their
// completion can be seen; a FLUSH must cover those that were counted when it was fetched; an fdatasync covers those that
// were counted before it was submitted. All but the atomics belongs to the home worker.
type flushState struct {
	dirty   []padded      // by worker
	flushed atomic.Uint64 // modifications known to be stable
	syncs   atomic.Uint64 // fdatasyncs that ended well
	failed  atomic.Bool   // an fdatasync failed: what it dropped cannot be made durable any more

	syncErrors atomic.Uint64 // fdatasyncs that failed

	running bool
	covers  uint64 // by the running one
	waiting []flushWaiter
	spare   []flushWaiter // waiting's other buffer
	retries uint8
}

// covered notes that an fdatasync which began after modification n has succeeded.
func (f *flushState) covered(n uint64) {
	for {
		old := f.flushed.Load()
		if old >= n || f.flushed.CompareAndSwap(old, n) {
			return
		}
	}
}

// flushWaiter is a request that completes when target is covered, or, with told, somebody outside the workers.
type flushWaiter struct {
	worker, slot int32
	target       uint64
	told         chan<- byte // gets a status; has room for it
}

// touch counts a modification by worker w.
func (d *Device) touch(w *worker) {
	c := &d.flush.dirty[w.id].n
	c.Store(c.Load() + 1) // one writer
}

// modified is the number of modifications so far. A Disk starts with one: a dead predecessor's may be unflushed.
func (d *Device) modified() uint64 {
	sum := uint64(1)
	for i := range d.flush.dirty {
		sum += d.flush.dirty[i].n.Load()
	}
	return sum
}

// beginFlush has a request wait until everything that has completed is stable.
func (w *worker) beginFlush(d *Device, s *slot) {
	switch {
	case d.opt.ReadOnly || d.inline != nil || d.opt.Cache == CacheUnsafe:
		w.finish(s, statusOK)
		return
	case d.flush.failed.Load():
		w.finish(s, statusIOErr)
		return
	}
	s.target = d.modified()
	if d.flush.flushed.Load() >= s.target {
		s.countMerged()
		w.finish(s, statusOK)
		return
	}
	s.step = stepFlush
	w.send(d.homeWorker(), message{kind: msgFlush, from: w.id, slot: s.id, dev: d, target: s.target})
}

// joinFlush, at home: at most one fdatasync of a Disk runs, and those who come meanwhile share the next.
func (w *worker) joinFlush(d *Device, f flushWaiter) {
	if d.flush.failed.Load() {
		w.answerFlush(d, f, statusIOErr, false)
		return
	}
	d.flush.waiting = append(d.flush.waiting, f)
	if !d.flush.running {
		w.startFsync(d)
	}
}

func (w *worker) startFsync(d *Device) {
	d.flush.running = true
	d.flush.covers = d.modified()
	if d.functions != nil {
		d.functions.calls <- call{w: w, dev: d, slot: none}
		return
	}
	w.sqe(kindFsync, d.homeIndex).Fsync(d.fd, true)
}

// fsyncDone, at home: answers everybody whom the fdatasync covers, and all who waited when it failed.
func (w *worker) fsyncDone(d *Device, res int32) {
	f := &d.flush
	errno := unix.Errno(max(-res, 0))
	if (errno == unix.EINTR || errno == unix.EAGAIN) && f.retries < maxRetries {
		f.retries++
		w.startFsync(d)
		return
	}
	f.retries = 0
	if errno != 0 {
		f.syncErrors.Add(1)
		d.flushFailed(errno)
	} else {
		f.syncs.Add(1)
		f.covered(f.covers)
	}
	// Who is answered may let others go on that join at once: they find a flush running, and a list of their own.
	batch := f.waiting
	f.waiting = f.spare
	failed := errno != 0 || f.failed.Load()
	merged := false // the first is who the fdatasync was begun for
	for _, one := range batch {
		switch {
		case failed:
			w.answerFlush(d, one, statusIOErr, merged)
		case one.target <= f.covers:
			w.answerFlush(d, one, statusOK, merged)
		default:
			f.waiting = append(f.waiting, one)
		}
		merged = true
	}
	f.spare = batch[:0]
	f.running = false
	if len(f.waiting) > 0 {
		w.startFsync(d)
	}
}

// flushFailed remembers, unless told otherwise, that writes may be lost: the kernel reports such a failure once and drops
// what it could not write, so the next fdatasync would succeed without them.
func (d *Device) flushFailed(err error) {
	if d.opt.FlushError == FlushErrorRetry {
		d.opt.Log.Error("fdatasync failed: the guest is told, and the next flush is tried (--flush-error=retry)", "error", err)
		return
	}
	if !d.flush.failed.Swap(true) {
		d.remember() // before any driver can hear of it
		d.opt.Log.Error("fdatasync failed: this flush and all later ones are answered IOERR, because the next could not make durable what this one dropped; once the storage and its data are known to be good, SIGUSR1 clears this",
			"error", err)
	}
}

// FlushFailed tells whether flushes fail because an earlier one did. Any goroutine may ask.
func (d *Device) FlushFailed() bool { return d.flush.failed.Load() }

// ClearFlushError lets flushes be tried again after a failed one: the operator says that nothing was lost, or that it
// does not matter. It returns whether there was something to clear. Any goroutine may call it.
func (d *Device) ClearFlushError() bool {
	cleared := d.flush.failed.Swap(false)
	if cleared {
		d.remember()
	}
	return cleared
}

func (w *worker) answerFlush(d *Device, f flushWaiter, status byte, merged bool) {
	if f.told != nil {
		f.told <- status
		return
	}
	w.send(w.pool.workers[f.worker], message{kind: msgFlushDone, slot: f.slot, dev: d, status: status, merged: merged})
}

// flushDone ends a request's wait for an fdatasync.
func (w *worker) flushDone(s *slot, m *message) {
	if m.merged {
		s.countMerged()
	}
	w.finish(s, m.status)
}
