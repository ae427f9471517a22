package guestmem

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// FaultError tells that guest memory could not be accessed although it is mapped: the front-end has truncated the
// file behind it, or its storage failed.
type FaultError struct {
	Addr uint64 // host address
}

// Error implements error.
func (e *FaultError) Error() string {
	return fmt.Sprintf("guest memory at host address %#x is gone (file truncated?)", e.Addr)
}

// Recover turns a memory fault inside a live Region or DirtyLog into a *FaultError in *err, and panics again with
// everything else. Use it as the deferred function itself, in a goroutine for which debug.SetPanicOnFault(true) holds:
//
//	defer guestmem.Recover(&err)
func Recover(err *error) {
	r := recover()
	if r == nil {
		return
	}
	if fault, ok := r.(interface {
		runtime.Error
		Addr() uintptr // of runtime errors made from SIGBUS and SIGSEGV, see debug.SetPanicOnFault
	}); ok && live.contains(uint64(fault.Addr())) {
		*err = &FaultError{Addr: uint64(fault.Addr())}
		return
	}
	panic(r)
}

// live holds what is mapped of other processes' memory. Only those who map and unmap, and Recover, touch it.
var live registry

// mapping is a place in our address space.
type mapping struct {
	base, size uint64
}

type registry struct {
	mu       sync.Mutex
	mappings []*mapping
}

func (l *registry) add(m *mapping) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mappings = append(l.mappings, m)
}

func (l *registry) remove(m *mapping) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.mappings, m); i >= 0 {
		l.mappings = slices.Delete(l.mappings, i, i+1)
	}
}

func (l *registry) contains(addr uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.mappings, func(m *mapping) bool { return addr-m.base < m.size })
}
