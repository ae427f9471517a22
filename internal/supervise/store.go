package supervise

import (
	"slices"
	"sync"

	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/internal/sys"
)

// store is what the worker has had kept. The goroutine that listens to the worker fills it.
type store struct {
	mu   sync.Mutex
	kept map[string]*sys.FD
}

// apply does what a message asks for, and takes its descriptors.
func (s *store) apply(m *resume.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := m.Fields[resume.FieldName]
	switch {
	case m.Fields[resume.FieldStore] != "" && len(m.FDs) == 1:
		_ = s.kept[name].Close()
		s.kept[name] = m.FDs[0]
		m.FDs = nil
	case m.Fields[resume.FieldRemove] != "":
		_ = s.kept[name].Close()
		delete(s.kept, name)
	}
}

// handOut sends everything to a process that begins. It stays here as well: that one may die, too.
func (s *store) handOut(sock int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.kept {
		names = append(names, name)
	}
	slices.Sort(names)
	fds := make([]int, len(names))
	for i, name := range names {
		fds[i] = s.kept[name].Int()
	}
	return resume.HandOut(sock, names, fds)
}

func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.kept {
		_ = f.Close()
	}
	s.kept = nil
}
