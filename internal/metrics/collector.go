package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/export"
)

// Source is where statistics come from; *export.Registry is one. Its methods may block when a worker hangs.
type Source interface {
	Stats() ([]export.Stats, []blk.WorkerStats)
	Workers() []blk.WorkerStats
}

// collector asks a Source at each scrape.
type collector struct {
	source  Source
	absent  func() []Absent
	version string
	sum     bool // all queues of an export as one
}

// Describe implements prometheus.Collector. Describing nothing leaves the names unchecked at the start: the registry checks
// each scrape.
func (*collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	exports, workers := c.source.Stats()
	o := out{to: to}
	o.gauge(buildInfo, 1, c.version)
	for i := range exports {
		c.export(&o, &exports[i])
	}
	c.outside(&o, exports)
	for i := range workers {
		o.worker(&workers[i])
	}
}

// outside tells of exports that are not open. One of them may have been among those that are a moment ago.
func (c *collector) outside(o *out, open []export.Stats) {
	if c.absent == nil {
		return
	}
	told := make(map[string]bool, len(open))
	for i := range open {
		told[open[i].Name] = true
	}
	for _, a := range c.absent() {
		if told[a.Name] {
			continue
		}
		o.gauge(exportState, 1, a.Name, a.State)
		if a.Wanted {
			o.gauge(exportUp, 0, a.Name)
		}
	}
}

// allQueues is the label of a sum.
const allQueues = "all"

func (c *collector) export(o *out, s *export.Stats) {
	o.export(s)
	if c.sum {
		o.queue(s.Name, allQueues, &s.Device.Total)
		return
	}
	for i := range s.Device.Queues {
		q := &s.Device.Queues[i]
		index := strconv.Itoa(q.Index)
		o.queue(s.Name, index, q)
		o.gauge(queueRunning, flag(q.Worker >= 0), s.Name, index)
		o.gauge(queueBroken, flag(q.Dead), s.Name, index)
	}
}

// out writes metrics.
type out struct{ to chan<- prometheus.Metric }

func (o *out) gauge(d *prometheus.Desc, v float64, labels ...string) {
	o.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (o *out) counter(d *prometheus.Desc, v uint64, labels ...string) {
	o.to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (o *out) export(s *export.Stats) {
	d := &s.Device
	o.gauge(exportUp, flag(s.State.Served()), s.Name)
	o.gauge(exportState, 1, s.Name, s.State.String())
	o.gauge(exportInfo, 1, s.Name, string(s.Cache), strconv.FormatBool(s.ReadOnly))
	o.gauge(exportCapacity, float64(d.Capacity), s.Name)
	o.gauge(flushFailed, flag(d.FlushFailed), s.Name)
	o.counter(sessions, s.Sessions, s.Name)
	o.counter(resumes, s.Resumes, s.Name)
	o.counter(fdatasyncs, d.Fdatasyncs, s.Name)
	o.counter(syncErrors, d.FdatasyncErrors, s.Name)
}

func (o *out) queue(name, index string, q *blk.QueueStats) {
	o.gauge(inFlight, float64(q.InFlight), name, index)
	for _, c := range []struct {
		desc *prometheus.Desc
		n    uint64
	}{
		{kicks, q.Kicks},
		{calls, q.Calls},
		{bounced, q.Bounced},
		{malformed, q.Malformed},
		{barriers, q.Barriers},
		{merged, q.FlushesMerged},
		{queueBreaks, q.Broken},
	} {
		o.counter(c.desc, c.n, name, index)
	}
	for _, op := range []struct {
		name   string
		always bool // told before the first one has come
		stats  *blk.OpStats
	}{
		{"read", true, &q.Read},
		{"write", true, &q.Write},
		{"flush", true, &q.Flush},
		{"discard", false, &q.Discard},
		{"write_zeroes", false, &q.WriteZeroes},
		{"other", false, &q.Other},
	} {
		if op.always || op.stats.Requests > 0 {
			o.op(op.stats, name, index, op.name)
		}
	}
}

func (o *out) op(s *blk.OpStats, labels ...string) {
	o.counter(requests, s.Requests, labels...)
	o.counter(requestSize, s.Bytes, labels...)
	o.counter(errored, s.Errors, labels...)
	o.counter(unsupported, s.Unsupported, labels...)
	count, buckets := cumulate(&s.Latency)
	sum := time.Duration(s.Latency.Sum).Seconds()
	o.to <- prometheus.MustNewConstHistogram(latency, count, sum, buckets, labels...)
}

// Buckets of a histogram as Prometheus gets it: each doubling from 1.024 us to 17 s. They are bounds of ours, so what they
// count is exact; the finer ones between them would be ten times the series.
const (
	firstShift = 10
	lastShift  = 34
)

// cumulate counts the values up to each of the bounds.
func cumulate(h *blk.Histogram) (count uint64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, lastShift-firstShift+1)
	i := 0
	for shift := firstShift; shift <= lastShift; shift++ {
		bound := uint64(1) << shift
		for ; i < len(h.Counts) && h.Bound(i) <= bound; i++ {
			count += h.Counts[i]
		}
		buckets[float64(bound)/float64(time.Second)] = count
	}
	for ; i < len(h.Counts); i++ {
		count += h.Counts[i]
	}
	return count, buckets
}

func (o *out) worker(s *blk.WorkerStats) {
	index := strconv.Itoa(s.Index)
	for state, d := range map[string]time.Duration{"idle": s.Idle, "polling": s.Polling, "busy": s.Busy} {
		o.to <- prometheus.MustNewConstMetric(workerTime, prometheus.CounterValue, d.Seconds(), index, state)
	}
	o.counter(workerPolls, s.PollsWon, index, "won")
	o.counter(workerPolls, s.PollsLost, index, "lost")
	o.counter(workerEnters, s.Enters, index)
	o.gauge(workerQueues, float64(s.Queues), index)
	o.counter(workerMoved, s.MovedIn, index)
	o.gauge(workerCPU, float64(s.CPU), index)
}
