package vublk_test

import (
	"context"
	"sync"

	"github.com/vublk/vublk"
)

// goDisk is a Disk of plain Go, which counts.
type goDisk struct {
	mu              sync.Mutex
	data            []byte
	flushes, closed int
	failFlush       error
}

func newGoDisk() *goDisk { return &goDisk{data: make([]byte, mib)} }

func (d *goDisk) Info() vublk.DiskInfo {
	d.mu.Lock()
	defer d.mu.Unlock()
	return vublk.DiskInfo{Name: "go", Size: int64(len(d.data)), VolatileCache: true}
}

func (d *goDisk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed++
	return nil
}

func (d *goDisk) ReadAt(_ context.Context, p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(p, d.data[off:])
	return nil
}

func (d *goDisk) WriteAt(_ context.Context, p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.data[off:], p)
	return nil
}

func (d *goDisk) Flush(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flushes++
	return d.failFlush
}

func (d *goDisk) Zero(_ context.Context, off, n int64, _ bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.data[off : off+n])
	return nil
}

func (d *goDisk) grow(size int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.data = append(d.data, make([]byte, size-len(d.data))...)
}

func (d *goDisk) failFlushes(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failFlush = err
}
