package top

import (
	"slices"
	"time"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

// Row is what one export did between two samples.
type Row struct {
	Name     string
	State    vublkv1.State
	Broken   uint64  // queues that were broken since the daemon began
	Errors   float64 // requests a second answered with an error
	IOPS     float64 // requests a second, of all kinds
	Read     float64 // bytes a second
	Write    float64
	P50, P99 time.Duration // of all requests; 0: there were none
	Depth    float64       // requests in flight, on average
	CPU      time.Duration // of a worker's time for a request, polling included; 0: there were none
}

// Table is what a daemon did between two samples.
type Table struct {
	Span  time.Duration
	Rows  []Row     // in the order of their names
	Total Row       // Name is empty
	Busy  []float64 // of each worker: the part of its time that it worked or polled
}

// NewTable subtracts before from after. It returns false when they cannot be compared: they are not of the same process, or
// of the same moment.
func NewTable(before, after *vublkv1.StatsResponse) (Table, bool) {
	span := time.Duration(after.GetTimeUnixNs() - before.GetTimeUnixNs())
	if span <= 0 || restarted(before, after) {
		return Table{}, false
	}
	t := Table{Span: span}
	costs := t.workers(before, after)
	had := map[string]*vublkv1.ExportStats{}
	for _, e := range before.GetExports() {
		had[e.GetName()] = e
	}
	var all histogram
	var cost float64
	for _, e := range after.GetExports() {
		b := had[e.GetName()]
		if b != nil && requests(e.GetTotal()) < requests(b.GetTotal()) {
			b = nil // another export has the name now
		}
		var own histogram
		row := newRow(e, b, span, &own)
		spent := costs.of(e, b)
		if n := row.IOPS * span.Seconds(); n > 0 {
			row.CPU = time.Duration(spent / n)
		}
		cost += spent
		eachOperation(e.GetTotal(), b.GetTotal(), func(now, then *vublkv1.OperationStats) {
			all.add(now.GetLatency(), then.GetLatency())
		})
		t.Rows = append(t.Rows, row)
		t.Total.sum(&row)
	}
	t.Total.P50, t.Total.P99 = all.quantile(0.5), all.quantile(0.99)
	if n := t.Total.IOPS * span.Seconds(); n > 0 {
		t.Total.CPU = time.Duration(cost / n)
	}
	return t, true
}

// restarted tells whether a worker has worked less than before: it is another one.
func restarted(before, after *vublkv1.StatsResponse) bool {
	for i, w := range after.GetWorkers() {
		if i < len(before.GetWorkers()) && alive(w) < alive(before.GetWorkers()[i]) {
			return true
		}
	}
	return len(after.GetWorkers()) != len(before.GetWorkers())
}

func alive(w *vublkv1.WorkerStats) uint64 { return w.GetIdleNs() + w.GetPollingNs() + w.GetBusyNs() }

func newRow(e, before *vublkv1.ExportStats, span time.Duration, latency *histogram) Row {
	r := Row{Name: e.GetName(), State: e.GetState(), Broken: e.GetTotal().GetBroken()}
	var bytes [2]uint64
	var n, errs uint64
	eachOperation(e.GetTotal(), before.GetTotal(), func(now, then *vublkv1.OperationStats) {
		n += now.GetRequests() - then.GetRequests()
		errs += now.GetErrors() - then.GetErrors()
		latency.add(now.GetLatency(), then.GetLatency())
	})
	bytes[0] = e.GetTotal().GetRead().GetBytes() - before.GetTotal().GetRead().GetBytes()
	bytes[1] = e.GetTotal().GetWrite().GetBytes() - before.GetTotal().GetWrite().GetBytes()
	seconds := span.Seconds()
	r.IOPS, r.Errors = float64(n)/seconds, float64(errs)/seconds
	r.Read, r.Write = float64(bytes[0])/seconds, float64(bytes[1])/seconds
	r.P50, r.P99 = latency.quantile(0.5), latency.quantile(0.99)
	r.Depth = float64(latency.sum) / float64(span) // Little's law
	if r.Depth == 0 {
		r.Depth = float64(e.GetTotal().GetInFlight()) // none of them has ended
	}
	return r
}

// sum adds what can be added.
func (r *Row) sum(o *Row) {
	r.IOPS += o.IOPS
	r.Errors += o.Errors
	r.Read += o.Read
	r.Write += o.Write
	r.Depth += o.Depth
	r.Broken += o.Broken
}

// eachOperation calls f with each kind of request, now and then.
func eachOperation(now, then *vublkv1.QueueStats, f func(now, then *vublkv1.OperationStats)) {
	f(now.GetRead(), then.GetRead())
	f(now.GetWrite(), then.GetWrite())
	f(now.GetFlush(), then.GetFlush())
	f(now.GetDiscard(), then.GetDiscard())
	f(now.GetWriteZeroes(), then.GetWriteZeroes())
	f(now.GetOther(), then.GetOther())
}

func requests(q *vublkv1.QueueStats) (n uint64) {
	eachOperation(q, nil, func(now, _ *vublkv1.OperationStats) { n += now.GetRequests() })
	return n
}

// costs is what a request cost on each worker, in nanoseconds.
type costs []float64

// workers notes how busy each worker was, and returns what its time divided by its requests comes to.
func (t *Table) workers(before, after *vublkv1.StatsResponse) costs {
	n := make([]uint64, len(after.GetWorkers()))
	eachQueue(before, after, func(worker int, done uint64) {
		if worker >= 0 && worker < len(n) {
			n[worker] += done
		}
	})
	c := make(costs, len(n))
	for i, w := range after.GetWorkers() {
		b := before.GetWorkers()[i]
		spent := float64(w.GetBusyNs() - b.GetBusyNs() + w.GetPollingNs() - b.GetPollingNs())
		t.Busy = append(t.Busy, min(spent/float64(t.Span), 1))
		if n[i] > 0 {
			c[i] = spent / float64(n[i])
		}
	}
	return c
}

// eachQueue calls f with the worker of each queue and the requests that it answered.
func eachQueue(before, after *vublkv1.StatsResponse, f func(worker int, done uint64)) {
	had := map[string]*vublkv1.ExportStats{}
	for _, e := range before.GetExports() {
		had[e.GetName()] = e
	}
	for _, e := range after.GetExports() {
		eachQueueOf(e, had[e.GetName()], f)
	}
}

func eachQueueOf(e, before *vublkv1.ExportStats, f func(worker int, done uint64)) {
	for _, q := range e.GetQueues() {
		done := requests(q)
		i := slices.IndexFunc(before.GetQueues(), func(b *vublkv1.QueueStats) bool { return b.GetIndex() == q.GetIndex() })
		if i >= 0 {
			if b := requests(before.GetQueues()[i]); b <= done {
				done -= b
			}
		}
		f(int(q.GetWorker()), done)
	}
}

// of is the workers' time that an export's requests took, in nanoseconds.
func (c costs) of(e, before *vublkv1.ExportStats) (spent float64) {
	eachQueueOf(e, before, func(worker int, done uint64) {
		if worker >= 0 && worker < len(c) {
			spent += c[worker] * float64(done)
		}
	})
	return spent
}
