package export

import (
	"sync/atomic"

	"github.com/vublk/vublk/blk"
)

// Stats is what an export has counted since it was made. No count ever goes back.
type Stats struct {
	Name     string
	State    State
	Cache    blk.CacheMode // as it was asked for
	ReadOnly bool
	Device   blk.Stats
	Sessions uint64 // of front-ends, those that were resumed included
	Resumes  uint64 // that went on after the death of another process, or were taken over from one
}

// counted is what an export's statistics are read from.
type counted struct {
	device            atomic.Pointer[blk.Device] // nil: not open yet
	sessions, resumes atomic.Uint64
}

// Stats returns what the export has counted; when it has ended, what it had counted until then. Any goroutine may call it.
// It does not wait for I/O.
func (e *Export) Stats() Stats {
	s := Stats{
		Name: e.def.Name, State: e.State(), Cache: e.def.Device.Cache, ReadOnly: e.def.Disk.ReadOnly,
		Sessions: e.counted.sessions.Load(), Resumes: e.counted.resumes.Load(),
	}
	if d := e.counted.device.Load(); d != nil {
		s.Device = d.Stats()
	}
	return s
}

// Stats returns what the exports, in the order of their names, and the workers have counted. It does not wait for I/O.
func (r *Registry) Stats() ([]Stats, []blk.WorkerStats) {
	list := r.List()
	all := make([]Stats, len(list))
	for i, e := range list {
		all[i] = e.Stats()
	}
	return all, r.pool.Stats()
}

// Workers returns what the workers have counted.
func (r *Registry) Workers() []blk.WorkerStats { return r.pool.Stats() }
