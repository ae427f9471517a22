package supervise

import (
	"slices"
	"sync"

	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/internal/sys"
)

// store is what the worker has had kept. The goroutine that listens to the worker fills it.
type store struct {
	mu    sync.Mutex
	kept  map[string]*sys.FD
	names map[string]*name // those of them that are sockets which listen
}

func newStore() store { return store{kept: map[string]*sys.FD{}, names: map[string]*name{}} }

// apply does what a message asks for, and takes its descriptors.
func (s *store) apply(m *resume.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := m.Fields[resume.FieldName]
	switch {
	case m.Fields[resume.FieldStore] != "" && len(m.FDs) == 1:
		s.forget(key)
		s.kept[key] = m.FDs[0]
		if n := nameOf(m.FDs[0]); n != nil {
			s.names[key] = n
		}
		m.FDs = nil
	case m.Fields[resume.FieldRemove] != "":
		s.forget(key)
	}
}

// forget lets go of a descriptor, and leaves its name to others.
func (s *store) forget(key string) {
	_ = s.kept[key].Close()
	delete(s.kept, key)
	delete(s.names, key)
}

// owes tells whether somebody must go on with what is kept: there is more than sockets that nobody is connected to.
func (s *store) owes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kept) > len(s.names)
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

// close lets go of everything, and of the names that sockets still have. It returns the first name that cannot be removed.
func (s *store) close() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.names {
		if e := n.remove(); err == nil {
			err = e
		}
	}
	for _, f := range s.kept {
		_ = f.Close()
	}
	s.kept, s.names = nil, nil
	return err
}
