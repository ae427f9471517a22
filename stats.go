package vublk

import (
	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/export"
)

// Stats is what an export has counted since it was made. Counts never go back, whatever front-ends come and go.
type Stats struct {
	Name     string
	State    State
	Device   blk.Stats // requests, bytes, errors and latencies, by queue and kind
	Sessions uint64    // of front-ends
}

func statsOf(s *export.Stats) Stats {
	return Stats{Name: s.Name, State: states[s.State], Device: s.Device, Sessions: s.Sessions}
}

// Stats returns what the export has counted; when it has ended, what it had counted until then. It does not wait for I/O.
func (e *Export) Stats() Stats {
	s := e.inner.Stats()
	return statsOf(&s)
}

// Stats returns what all exports that were not closed, in the order of their names, and the workers have counted. It does
// not wait for I/O.
func (s *Server) Stats() (exports []Stats, workers []blk.WorkerStats) {
	all, workers := s.registry.Stats()
	for i := range all {
		exports = append(exports, statsOf(&all[i]))
	}
	return exports, workers
}
