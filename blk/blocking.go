package blk

import "time"

// Calls that the kernel may hold up for long are made by a few goroutines at a time: the runtime starts a thread for each
// that blocks and never ends one (golang/go#14592), and a thousand images may be opened together. Nobody waits for a disk
// that hangs: who finds no place within patience goes ahead.
const (
	blockingPlaces   = 4
	blockingPatience = time.Second
)

var places = make(chan struct{}, blockingPlaces)

// blocking runs f, which may wait in the kernel. No worker calls it.
func blocking(f func() error) error {
	select {
	case places <- struct{}{}:
	default:
		timer := time.NewTimer(blockingPatience)
		defer timer.Stop()
		select {
		case places <- struct{}{}:
		case <-timer.C:
			return f()
		}
	}
	defer func() { <-places }()
	return f()
}
