package metrics

import (
	"fmt"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/export"
)

// expected is what a scrape of s must say, written down field by field.
func expected(f *fake, sum bool) map[string]float64 {
	all := map[string]float64{
		`vublk_build_info{version=1.2 "3"}`: 1,
		// of absent
		"vublk_export_up{export=c}":                  0,
		"vublk_export_state{export=c,state=failed}":  1,
		"vublk_export_state{export=d,state=drained}": 1,
	}
	for _, s := range f.exports {
		name := "export=" + s.Name
		up := 0.0
		if s.State == export.Attached {
			up = 1
		}
		failed := 0.0
		if s.Device.FlushFailed {
			failed = 1
		}
		maps.Copy(all, map[string]float64{
			"vublk_export_up{" + name + "}":                                                       up,
			"vublk_export_state{" + name + ",state=" + fmt.Sprint(s.State) + "}":                  1,
			fmt.Sprintf("vublk_export_info{cache=%s,%s,read_only=%v}", s.Cache, name, s.ReadOnly): 1,
			"vublk_export_capacity_bytes{" + name + "}":                                           float64(s.Device.Capacity),
			"vublk_export_flush_failed{" + name + "}":                                             failed,
			"vublk_export_sessions_total{" + name + "}":                                           float64(s.Sessions),
			"vublk_export_resumes_total{" + name + "}":                                            float64(s.Resumes),
			"vublk_export_fdatasyncs_total{" + name + "}":                                         float64(s.Device.Fdatasyncs),
			"vublk_export_fdatasync_errors_total{" + name + "}":                                   float64(s.Device.FdatasyncErrors),
		})
		if sum {
			maps.Copy(all, expectedQueue(name, "all", s.Device.Total))
			continue
		}
		for _, q := range s.Device.Queues {
			maps.Copy(all, expectedQueue(name, fmt.Sprint(q.Index), q))
			labels := fmt.Sprintf("{%s,queue=%d}", name, q.Index)
			all["vublk_queue_running"+labels], all["vublk_queue_broken"+labels] = 1, 0
			if q.Worker < 0 {
				all["vublk_queue_running"+labels], all["vublk_queue_broken"+labels] = 0, 1
			}
		}
	}
	for _, w := range f.workers {
		worker := fmt.Sprintf("worker=%d", w.Index)
		maps.Copy(all, map[string]float64{
			"vublk_worker_seconds_total{state=idle," + worker + "}":    w.Idle.Seconds(),
			"vublk_worker_seconds_total{state=polling," + worker + "}": w.Polling.Seconds(),
			"vublk_worker_seconds_total{state=busy," + worker + "}":    w.Busy.Seconds(),
			"vublk_worker_polls_total{result=won," + worker + "}":      float64(w.PollsWon),
			"vublk_worker_polls_total{result=lost," + worker + "}":     float64(w.PollsLost),
			"vublk_worker_enters_total{" + worker + "}":                float64(w.Enters),
			"vublk_worker_queues{" + worker + "}":                      float64(w.Queues),
			"vublk_worker_queues_moved_in_total{" + worker + "}":       float64(w.MovedIn),
			"vublk_worker_cpu{" + worker + "}":                         float64(w.CPU),
		})
	}
	return all
}

func expectedQueue(name, index string, q blk.QueueStats) map[string]float64 {
	all := map[string]float64{}
	labels := "{" + name + ",queue=" + index + "}"
	for metric, v := range map[string]uint64{
		"queue_requests_in_flight": uint64(q.InFlight), "queue_kicks_total": q.Kicks, "queue_calls_total": q.Calls,
		"queue_requests_bounced_total": q.Bounced, "queue_requests_malformed_total": q.Malformed, "queue_requests_barrier_total": q.Barriers,
		"queue_flushes_merged_total": q.FlushesMerged, "queue_breaks_total": q.Broken,
	} {
		all["vublk_"+metric+labels] = float64(v)
	}
	for i, op := range []string{"read", "write", "flush", "discard", "write_zeroes", "other"} {
		s := q.Ops()[i]
		if s.Requests == 0 && i > 2 {
			continue
		}
		labels := "{" + name + ",op=" + op + ",queue=" + index + "}"
		all["vublk_requests_total"+labels] = float64(s.Requests)
		all["vublk_request_bytes_total"+labels] = float64(s.Bytes)
		all["vublk_request_errors_total"+labels] = float64(s.Errors)
		all["vublk_request_unsupported_total"+labels] = float64(s.Unsupported)
		latency := "vublk_request_duration_seconds" + labels
		all[latency+" count"], all[latency+" sum"] = float64(s.Latency.Count()), time.Duration(s.Latency.Sum).Seconds()
		all[latency+" le +Inf"] = float64(s.Latency.Count())
		for shift := 10; shift <= 34; shift++ {
			n := uint64(0)
			for bucket, c := range s.Latency.Counts {
				if s.Latency.Bound(bucket) <= 1<<shift {
					n += c
				}
			}
			all[fmt.Sprintf("%s le %g", latency, float64(uint64(1)<<shift)/1e9)] = float64(n)
		}
	}
	return all
}

// TestEveryFieldIsTold: each with the value, the name and the labels that it should have, and nothing else is.
func TestEveryFieldIsTold(t *testing.T) {
	s := newSite(t, everything())
	for path, sum := range map[string]bool{"/metrics": false, "/metrics?queues=sum": true} {
		got, want := values(s.scrape(path)), expected(s.source, sum)
		for name, v := range want {
			if g, ok := got[name]; !ok || math.Abs(g-v) > math.Abs(v)*1e-12 {
				t.Errorf("%s: %s is %v, %v; want %v", path, name, g, ok, v)
			}
		}
		for name, v := range got {
			if _, ok := want[name]; !ok {
				t.Errorf("%s: %s is %v, and should not be there", path, name, v)
			}
		}
		if len(want) < 150 {
			t.Errorf("only %d values expected", len(want))
		}
	}
}
