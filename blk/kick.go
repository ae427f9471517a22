package blk

import (
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/iouring"
)

// pollTable maps the index in a kick completion to its queue. An entry stays taken until the kernel has sent the last
// completion of its poll, so a completion never finds another queue's entry.
type pollTable struct {
	entries []*queue // nil: the poll is being removed, or the entry is free
	unused  []int32
}

func (t *pollTable) take(q *queue) int32 {
	if n := len(t.unused); n > 0 {
		i := t.unused[n-1]
		t.unused = t.unused[:n-1]
		t.entries[i] = q
		return i
	}
	t.entries = append(t.entries, q)
	return int32(len(t.entries) - 1)
}

func (t *pollTable) put(i int32) {
	t.entries[i] = nil
	t.unused = append(t.unused, i)
}

// armKick polls the queue's kick eventfd. A multishot poll completes once for each write, without anybody reading the
// eventfd; and unlike a read in flight it does not swallow a kick when this process is killed.
func (w *worker) armKick(q *queue) {
	fd := q.vq.KickFD()
	if fd < 0 {
		w.kickless = append(w.kickless, q)
		return
	}
	q.poll, q.shots = w.polls.take(q), 0
	w.sqe(kindKick, q.poll).PollAdd(int32(fd), unix.POLLIN, true)
}

// disarmKick ends the poll. The entry comes back with the poll's last completion.
func (w *worker) disarmKick(q *queue) {
	for i, k := range w.kickless {
		if k == q {
			w.kickless = append(w.kickless[:i], w.kickless[i+1:]...)
			return
		}
	}
	w.polls.entries[q.poll] = nil
	w.sqe(kindIgnore, 0).PollRemove(uint64(kindKick) | uint64(uint32(q.poll)))
}

// kicked handles a completion of a kick poll.
func (w *worker) kicked(index int32, c iouring.CQE) {
	q := w.polls.entries[index]
	last := c.Flags&iouring.CQEFMore == 0 // ended: removed, failed, or cut short by a full completion queue
	if q == nil {
		if last {
			w.polls.put(index)
		}
		return
	}
	q.count.kicks++
	w.heat(q)
	shots := q.shots
	if q.shots++; !last {
		return
	}
	w.polls.put(index)
	if c.Res < 0 || shots == 0 { // or it ends at once, as a file's does that is always ready
		q.dev.opt.Log.Warn("the kick descriptor cannot be polled: the queue is looked at by the clock", "queue", q.index, "result", c.Res)
		w.kickless = append(w.kickless, q)
		return
	}
	w.armKick(q)
}

// armDoorbell polls the eventfd that other goroutines wake this worker by.
func (w *worker) armDoorbell() error {
	w.sqe(kindDoorbell, 0).PollAdd(int32(w.mail.bell.Int()), unix.POLLIN, true)
	return w.ring.Enter(0)
}
