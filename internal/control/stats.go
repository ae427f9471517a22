package control

import (
	"time"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/blk"
)

// collect reads all counters.
func (s *Server) collect() *vublkv1.StatsResponse {
	at := time.Now()
	all, workers := s.o.Daemon.Stats()
	answer := &vublkv1.StatsResponse{TimeUnixNs: at.UnixNano()}
	for i := range all {
		answer.Exports = append(answer.Exports, exportStatsOf(&all[i]))
	}
	for i := range workers {
		answer.Workers = append(answer.Workers, workerStatsOf(&workers[i]))
	}
	return answer
}

func exportStatsOf(s *Stats) *vublkv1.ExportStats {
	p := &vublkv1.ExportStats{
		Name: text(s.Name), State: states[s.State], Total: queueStatsOf(&s.Device.Total), Fdatasyncs: s.Device.Fdatasyncs,
		FdatasyncErrors: s.Device.FdatasyncErrors, Sessions: s.Sessions, Resumes: s.Resumes,
	}
	for i := range s.Device.Queues {
		p.Queues = append(p.Queues, queueStatsOf(&s.Device.Queues[i]))
	}
	return p
}

func queueStatsOf(q *blk.QueueStats) *vublkv1.QueueStats {
	return &vublkv1.QueueStats{
		Index: uint32(q.Index), Worker: int32(q.Worker), InFlight: uint32(max(q.InFlight, 0)),
		Read: operationOf(&q.Read), Write: operationOf(&q.Write), Flush: operationOf(&q.Flush),
		Discard: operationOf(&q.Discard), WriteZeroes: operationOf(&q.WriteZeroes), Other: operationOf(&q.Other),
		Kicks: q.Kicks, Calls: q.Calls, Bounced: q.Bounced, FlushesMerged: q.FlushesMerged,
		Malformed: q.Malformed, Barriers: q.Barriers, Broken: q.Broken,
	}
}

func operationOf(o *blk.OpStats) *vublkv1.OperationStats {
	return &vublkv1.OperationStats{
		Requests: o.Requests, Bytes: o.Bytes, Errors: o.Errors, Unsupported: o.Unsupported, Latency: histogramOf(&o.Latency),
	}
}

// histogramOf leaves out buckets that are empty.
func histogramOf(h *blk.Histogram) *vublkv1.Histogram {
	p := &vublkv1.Histogram{SumNs: h.Sum}
	for i, n := range h.Counts {
		if n > 0 {
			p.BoundsNs = append(p.BoundsNs, h.Bound(i))
			p.Counts = append(p.Counts, n)
		}
	}
	return p
}

func workerStatsOf(w *blk.WorkerStats) *vublkv1.WorkerStats {
	return &vublkv1.WorkerStats{
		Index: uint32(w.Index), Cpu: int32(w.CPU), Queues: uint32(max(w.Queues, 0)),
		IdleNs: nanoseconds(w.Idle), PollingNs: nanoseconds(w.Polling), BusyNs: nanoseconds(w.Busy),
		PollsWon: w.PollsWon, PollsLost: w.PollsLost, Enters: w.Enters, QueuesMovedIn: w.MovedIn,
	}
}

func nanoseconds(d time.Duration) uint64 { return uint64(max(d, 0)) }
