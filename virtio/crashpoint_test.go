//go:build crashpoint

package virtio_test

import (
	"fmt"
	"testing"

	"github.com/vublk/vublk/internal/crashpoint"
	"github.com/vublk/vublk/virtio"
)

// dead is what a device's work is cut off with.
type dead struct{}

// until lets work go on until its kth store to shared memory. It returns whether it came so far.
func until(k int, work func()) (cut bool) {
	crashpoint.OnStore = func() {
		if k--; k == 0 {
			panic(dead{})
		}
	}
	defer func() {
		crashpoint.OnStore = nil
		if r := recover(); r != nil {
			if _, ok := r.(dead); !ok {
				panic(r)
			}
			cut = true
		}
	}()
	work()
	return false
}

// device is a whole life: it takes over, serves, and takes its leave.
func (l *lives) device(base virtio.Base) {
	mustNot(l.t, l.begin(base))
	l.serve()
	mustNot(l.t, l.queue.Close())
}

// bury frees what a device that was cut off holds of this process.
func (l *lives) bury() {
	if l.queue != nil {
		mustNot(l.t, l.queue.Close())
	}
}

// TestEveryStore stops a device after each of its stores to shared memory, and its successor after each of its own; a third
// one does the rest. Between them the driver does nothing, or reaps and asks for more.
func TestEveryStore(t *testing.T) {
	for _, f := range formats[:2] {
		for batch := 1; batch <= 8; batch++ {
			t.Run(fmt.Sprintf("%s/batch=%d", f.name, batch), func(t *testing.T) {
				base := virtio.Base(65534)
				if f.packed() {
					base = 11 | 11<<16 | 1<<31 | 1<<15
				}
				l := newLives(t, f, 16, base)
				l.add(5) // so that no list in the record is in order any more
				l.publish(t)
				l.device(base)
				l.reap()
				deaths, stores := 0, 0
				for busy := range 2 {
					for k := 1; ; k++ {
						first, n := l.twoDeaths(k, batch, busy == 1)
						deaths += n
						stores = max(stores, k-1)
						if !first {
							break
						}
					}
				}
				if stores < 4*batch {
					t.Fatalf("a batch of %d made %d stores: they are not counted", batch, stores)
				}
				t.Logf("%d stores in a life, %d deaths", stores, deaths)
			})
		}
	}
}

// twoDeaths has a device die after its kth store, and the next one after each of its stores. It returns whether the first
// one had so many.
func (l *lives) twoDeaths(k, batch int, busy bool) (first bool, deaths int) {
	for second := 1; ; second++ {
		l.add(batch)
		l.publish(l.t)
		l.queue = nil
		if first = until(k, func() { l.device(0) }); first {
			deaths++
			l.bury()
		}
		l.between(busy)
		l.queue = nil
		again := until(second, func() { l.device(0) })
		if again {
			deaths++
			l.bury()
		}
		l.between(busy)
		l.end()
		if !first || !again {
			return first, deaths
		}
	}
}

// between is what the driver does meanwhile.
func (l *lives) between(busy bool) {
	if busy {
		l.reap()
		l.add(2)
		l.publish(l.t)
	}
}
