package export

import "github.com/vublk/vublk/blk"

// FrontEnd names the process whose session runs; "": none does. Any goroutine may call it.
func (e *Export) FrontEnd() string {
	if who := e.attached.Load(); who != nil {
		return *who
	}
	return ""
}

// Capacity is what the guest sees, in bytes; 0: nothing is open. Any goroutine may call it.
func (e *Export) Capacity() int64 {
	if d := e.serving(); d != nil {
		return d.Capacity()
	}
	return 0
}

// FlushFailed tells whether flushes are answered with an error because one has failed (ClearFlushError). Any goroutine may
// call it.
func (e *Export) FlushFailed() bool {
	d := e.serving()
	return d != nil && d.FlushFailed()
}

// serving is the device while the export is open; nil: it is not.
func (e *Export) serving() *blk.Device {
	if e.State() == Closed {
		return nil
	}
	return e.counted.device.Load()
}
