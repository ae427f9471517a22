package control

import (
	"context"
	"sync"
	"time"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

// samplePause is at least between two collections: workers answer each.
const samplePause = 20 * time.Millisecond

// sampler collects statistics once for all who ask while it is busy. Nobody gets counters that are older than the question.
type sampler struct {
	collect func() *vublkv1.StatsResponse

	turn sync.Mutex // one collection at a time
	last time.Time  // the turn's
	wait sync.WaitGroup

	mu   sync.Mutex
	next *sample // that has not begun
}

type sample struct {
	done  chan struct{}
	stats *vublkv1.StatsResponse
}

// take waits for a collection that begins after the call. The answer is shared: it must not be changed.
func (s *sampler) take(ctx context.Context) (*vublkv1.StatsResponse, error) {
	s.mu.Lock()
	if s.next == nil {
		s.next = &sample{done: make(chan struct{})}
		s.wait.Go(s.run)
	}
	n := s.next
	s.mu.Unlock()
	select {
	case <-n.done:
		return n.stats, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run collects for those who have come until it begins.
func (s *sampler) run() {
	s.turn.Lock()
	defer s.turn.Unlock()
	time.Sleep(time.Until(s.last.Add(samplePause)))
	s.mu.Lock()
	n := s.next
	s.next = nil
	s.mu.Unlock()
	n.stats = s.collect()
	s.last = time.Now()
	close(n.done)
}
