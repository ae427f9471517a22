package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what a run measured.
type Result struct {
	Requests uint64        // completed within the measured time
	Bytes    uint64        // of them
	Elapsed  time.Duration // measured, the longest of the queues
	IOPS     float64
	MBps     float64 // 10^6 bytes a second
	Latency  Latency
	// Histogram is what Latency is made of, in nanoseconds, for other percentiles, plots, and merging.
	Histogram *hdrhistogram.Histogram
	Kicks     uint64 // that the device asked for
	Sleeps    uint64 // of the driver

	BackendPID    int           // the process measured; 0: none, and the following are 0
	BackendCPU    time.Duration // that it used within the measured time, what it polled included
	CPUPerRequest time.Duration
	Backend       Usage // within the measured time, the end of the warm-up and the draining
}

// SwitchesPerRequest are the back-end's context switches.
func (r *Result) SwitchesPerRequest() float64 {
	return float64(r.Backend.Switches()) / float64(max(r.Requests, 1))
}

// Latency is how long requests took, from their making available to their reaping.
type Latency struct {
	Mean, Min, P50, P90, P99, P999, Max time.Duration
}

// Latencies are recorded in nanoseconds, exact to three digits.
const (
	latencyMin    = 1
	latencyMax    = int64(time.Minute)
	latencyDigits = 3
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(latencyMin, latencyMax, latencyDigits)
}

// newResult sums up loops that have ended.
func newResult(loops []*loop, blockSize uint32) Result {
	var r Result
	all := newHistogram()
	for _, l := range loops {
		n := l.count
		bytes := (n.done - n.flushes) * uint64(blockSize)
		r.Requests += n.done
		r.Bytes += bytes
		r.Kicks += n.kicks
		r.Sleeps += n.sleeps
		r.Elapsed = max(r.Elapsed, l.elapsed)
		if seconds := l.elapsed.Seconds(); seconds > 0 {
			r.IOPS += float64(n.done) / seconds
			r.MBps += float64(bytes) / seconds / 1e6
		}
		all.Merge(l.latency)
	}
	r.Latency, r.Histogram = newLatency(all), all
	if len(loops) > 0 && loops[0].gauge != nil {
		loops[0].gauge.report(&r, loops[0].elapsed)
	}
	return r
}

func newLatency(h *hdrhistogram.Histogram) Latency {
	if h.TotalCount() == 0 {
		return Latency{}
	}
	at := func(percentile float64) time.Duration { return time.Duration(h.ValueAtPercentile(percentile)) }
	return Latency{
		Mean: time.Duration(h.Mean()), Min: time.Duration(h.Min()), Max: time.Duration(h.Max()),
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9),
	}
}
