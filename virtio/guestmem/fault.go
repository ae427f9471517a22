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

// Recover turns a memory fault inside a live Region into a *FaultError in *err, and panics again with everything
// else. Use it as the deferred function itself, in a goroutine for which debug.SetPanicOnFault(true) holds:
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

// live holds the mapped regions of the process. Only Map, the last release and Recover touch it.
var live registry

type registry struct {
	mu      sync.Mutex
	regions []*Region
}

func (l *registry) add(r *Region) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.regions = append(l.regions, r)
}

func (l *registry) remove(r *Region) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.regions, r); i >= 0 {
		l.regions = slices.Delete(l.regions, i, i+1)
	}
}

func (l *registry) contains(addr uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.regions, func(r *Region) bool { return addr-r.base < r.size })
}
