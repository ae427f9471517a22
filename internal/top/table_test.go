package top

import (
	"testing"
	"time"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

// histogramOf has counts values of each bound, all of them as large as it.
func histogramOf(pairs ...uint64) *vublkv1.Histogram {
	h := &vublkv1.Histogram{}
	for i := 0; i < len(pairs); i += 2 {
		h.BoundsNs = append(h.BoundsNs, pairs[i])
		h.Counts = append(h.Counts, pairs[i+1])
		h.SumNs += pairs[i] * pairs[i+1]
	}
	return h
}

func operation(requests, bytes uint64, pairs ...uint64) *vublkv1.OperationStats {
	return &vublkv1.OperationStats{Requests: requests, Bytes: bytes, Latency: histogramOf(pairs...)}
}

func queue(index uint32, worker int32, read, write *vublkv1.OperationStats) *vublkv1.QueueStats {
	return &vublkv1.QueueStats{Index: index, Worker: worker, Read: read, Write: write}
}

func worker(busy, polling, idle time.Duration) *vublkv1.WorkerStats {
	return &vublkv1.WorkerStats{BusyNs: uint64(busy), PollingNs: uint64(polling), IdleNs: uint64(idle)}
}

// sample is of a daemon at that time with one worker for each of queues, all of export "a".
func sample(at time.Duration, total *vublkv1.QueueStats, queues []*vublkv1.QueueStats, workers ...*vublkv1.WorkerStats) *vublkv1.StatsResponse {
	return &vublkv1.StatsResponse{
		TimeUnixNs: int64(at), Workers: workers,
		Exports: []*vublkv1.ExportStats{{Name: "a", State: vublkv1.State_STATE_ATTACHED, Total: total, Queues: queues}},
	}
}

func TestRow(t *testing.T) {
	total := queue(0, -1, operation(1000, 4096000, 50_000, 1000), operation(100, 51200, 9000, 100))
	before := sample(10*time.Second, total, []*vublkv1.QueueStats{total}, worker(time.Second, 0, 9*time.Second))
	later := queue(0, -1, operation(2980, 4096000+1980*4096, 50_000, 1990, 80_000, 990), operation(120, 51200+20*512, 9000, 120))
	after := sample(12*time.Second, later, []*vublkv1.QueueStats{later}, worker(1400*time.Millisecond, 200*time.Millisecond, 10400*time.Millisecond))
	for _, q := range []*vublkv1.StatsResponse{before, after} {
		q.Exports[0].Queues[0].Worker = 0
	}
	table, ok := NewTable(before, after)
	if !ok || len(table.Rows) != 1 {
		t.Fatalf("no table of two samples: %v, %d rows", ok, len(table.Rows))
	}
	r := table.Rows[0]
	if r.IOPS != 1000 { // 1980 + 20 in two seconds
		t.Errorf("IOPS %v, want 1000", r.IOPS)
	}
	if r.Read != 1980*4096/2 || r.Write != 20*512/2 {
		t.Errorf("read %v, write %v B/s, want %v and %v", r.Read, r.Write, 1980*4096/2, 20*512/2)
	}
	if r.P50 != 50*time.Microsecond || r.P99 != 80*time.Microsecond {
		t.Errorf("p50 %v, p99 %v, want 50us and 80us", r.P50, r.P99)
	}
	inFlight := float64(990*50_000+990*80_000+20*9000) / 2e9
	if r.Depth != inFlight {
		t.Errorf("depth %v, want %v", r.Depth, inFlight)
	}
	if want := 600 * time.Millisecond / 2000; r.CPU != want { // busy 400 ms, polling 200 ms
		t.Errorf("CPU/IO %v, want %v", r.CPU, want)
	}
	if table.Busy[0] != 0.3 {
		t.Errorf("worker busy %v, want 0.3", table.Busy[0])
	}
	if o := table.Total; o.IOPS != r.IOPS || o.P99 != r.P99 || o.CPU != r.CPU || o.Depth != r.Depth {
		t.Errorf("total %+v is not the only row %+v", o, r)
	}
}

// TestCostIsShared has two exports on one worker and a third one on another.
func TestCostIsShared(t *testing.T) {
	sampleOf := func(at time.Duration, n uint64, workers ...*vublkv1.WorkerStats) *vublkv1.StatsResponse {
		s := &vublkv1.StatsResponse{TimeUnixNs: int64(at), Workers: workers}
		for i, e := range []struct {
			name     string
			worker   int32
			requests uint64
		}{{"a", 0, 3 * n}, {"b", 0, n}, {"c", 1, n}} {
			q := queue(uint32(i), e.worker, operation(e.requests, 0), nil)
			s.Exports = append(s.Exports, &vublkv1.ExportStats{Name: e.name, Total: q, Queues: []*vublkv1.QueueStats{q}})
		}
		return s
	}
	table, ok := NewTable(
		sampleOf(time.Second, 0, worker(0, 0, 1), worker(0, 0, 1)),
		sampleOf(2*time.Second, 1000, worker(400*time.Millisecond, 0, 2), worker(0, 300*time.Millisecond, 2)))
	if !ok {
		t.Fatal("no table")
	}
	for i, want := range []time.Duration{100 * time.Microsecond, 100 * time.Microsecond, 300 * time.Microsecond} {
		if got := table.Rows[i].CPU; got != want {
			t.Errorf("export %s: CPU/IO %v, want %v", table.Rows[i].Name, got, want)
		}
	}
	if want := 140 * time.Microsecond; table.Total.CPU != want {
		t.Errorf("all: CPU/IO %v, want %v", table.Total.CPU, want)
	}
}

// TestNoTable wants samples that cannot be compared to be refused, not to be subtracted.
func TestNoTable(t *testing.T) {
	q := queue(0, 0, operation(1000, 0), nil)
	old := sample(10*time.Second, q, []*vublkv1.QueueStats{q}, worker(time.Second, 0, 9*time.Second))
	for name, after := range map[string]*vublkv1.StatsResponse{
		"the same moment":   sample(10*time.Second, q, nil, worker(time.Second, 0, 9*time.Second)),
		"a clock set back":  sample(9*time.Second, q, nil, worker(time.Second, 0, 9*time.Second)),
		"another process":   sample(11*time.Second, q, nil, worker(time.Millisecond, 0, 0)),
		"with more workers": sample(11*time.Second, q, nil, worker(time.Second, 0, 10*time.Second), worker(1, 0, 0)),
		"without workers":   sample(11*time.Second, q, nil),
	} {
		if _, ok := NewTable(old, after); ok {
			t.Errorf("%s: a table was made of it", name)
		}
	}
}

// TestNameIsReused has an export deleted and another one created under its name between two samples.
func TestNameIsReused(t *testing.T) {
	old := queue(0, 0, operation(1000, 1000*512, 700, 1000), nil)
	fresh := queue(0, 0, operation(10, 10*512, 900, 10), nil)
	table, ok := NewTable(
		sample(10*time.Second, old, []*vublkv1.QueueStats{old}, worker(0, 0, 9*time.Second)),
		sample(11*time.Second, fresh, []*vublkv1.QueueStats{fresh}, worker(time.Second, 0, 9*time.Second)))
	if !ok || table.Rows[0].IOPS != 10 || table.Rows[0].P99 != 900 || table.Rows[0].Read != 5120 {
		t.Errorf("%v, rows %+v: want the 10 requests of the new one", ok, table.Rows)
	}
}

// TestDamagedSamples wants no panic, whatever a daemon sends.
func TestDamagedSamples(t *testing.T) {
	bad := &vublkv1.StatsResponse{TimeUnixNs: 5, Exports: []*vublkv1.ExportStats{
		nil,
		{},
		{Name: "x", Queues: []*vublkv1.QueueStats{nil, {Worker: 99}, {Worker: -7}}},
		{Name: "y", Total: &vublkv1.QueueStats{Read: &vublkv1.OperationStats{Latency: &vublkv1.Histogram{BoundsNs: []uint64{1, 2, 3}, Counts: []uint64{1}}}}},
	}, Workers: []*vublkv1.WorkerStats{nil}}
	for _, before := range []*vublkv1.StatsResponse{nil, {}, {Workers: []*vublkv1.WorkerStats{nil}}} {
		if table, ok := NewTable(before, bad); ok && len(table.Rows) != 4 {
			t.Errorf("%d rows, want 4", len(table.Rows))
		}
	}
}
