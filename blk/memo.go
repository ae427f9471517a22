package blk

import (
	"encoding/binary"
	"runtime/debug"
	"sync"

	"github.com/vublk/vublk/virtio/guestmem"
)

// memoSize is what a transport keeps for a device: what a successor of this process has to know and nobody tells it. A
// front-end that reconnects does not repeat the driver's cache mode, and a failed flush is not undone by a restart.
//
//	u64 magic · u32 version · u32 flags · u64 capacity in sectors, as the driver knows it · unused
//
// It may be the front-end's memory: who forges it harms a disk of its own.
const memoSize = 64

const (
	memoMagic   = "vublkmem"
	memoVersion = 1

	memoWritebackKnown = 1 << 0 // the next flag is the driver's choice
	memoWriteback      = 1 << 1
	memoFlushFailed    = 1 << 2
)

// memo is the place and its guard: the session's goroutine and the home worker write.
type memo struct {
	mu     sync.Mutex
	region *guestmem.Region // nil: none
}

// SetMemo gives the device 64 bytes (vhostuser.MemoSize) that outlive it, or takes them away: it owns m. What a predecessor left there is
// taken over.
func (d *Device) SetMemo(m *guestmem.Region) error {
	d.memo.mu.Lock()
	defer d.memo.mu.Unlock()
	if d.memo.region != nil {
		d.memo.region.Close()
	}
	if d.memo.region = m; m == nil {
		return nil
	}
	if err := d.recallLocked(); err != nil {
		return err
	}
	return d.rememberLocked()
}

// remember writes down what a successor has to know. Where the memory is gone nobody will look for it.
func (d *Device) remember() {
	d.memo.mu.Lock()
	defer d.memo.mu.Unlock()
	if d.memo.region != nil {
		_ = d.rememberLocked()
	}
}

func (d *Device) rememberLocked() (err error) {
	defer guestmem.Recover(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	flags := uint32(0)
	if d.writebackKnown.Load() {
		flags |= memoWritebackKnown
	}
	if d.writeback.Load() {
		flags |= memoWriteback
	}
	if d.flush.failed.Load() {
		flags |= memoFlushFailed
	}
	// The flags are one word, so they are never half written; the magic comes last.
	d.memo.store(12, binary.LittleEndian.AppendUint32(nil, flags))
	d.memo.store(16, binary.LittleEndian.AppendUint64(nil, d.capacity.Load()))
	d.memo.store(8, binary.LittleEndian.AppendUint32(nil, memoVersion))
	d.memo.store(0, []byte(memoMagic))
	return nil
}

func (m *memo) at(off, n uint64) []guestmem.Iovec {
	return []guestmem.Iovec{{Base: m.region.HostAddr() + off, Len: n}}
}

func (m *memo) store(off uint64, b []byte) { guestmem.CopyOut(m.at(off, uint64(len(b))), b) }

// recallLocked takes over what a predecessor wrote, if any has.
func (d *Device) recallLocked() (err error) {
	defer guestmem.Recover(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var b [memoSize]byte
	guestmem.CopyIn(b[:], d.memo.at(0, memoSize))
	if string(b[:8]) != memoMagic || binary.LittleEndian.Uint32(b[8:]) != memoVersion {
		return nil
	}
	flags := binary.LittleEndian.Uint32(b[12:])
	if flags&memoWritebackKnown != 0 && !d.writebackKnown.Load() {
		d.writebackKnown.Store(true)
		d.writeback.Store(flags&memoWriteback != 0 && d.offered.Has(FeatureFlush))
		d.decideDurability()
	}
	if flags&memoFlushFailed != 0 && d.opt.FlushError == FlushErrorSticky && !d.flush.failed.Swap(true) {
		d.opt.Log.Error("a flush has failed before this process began: flushes are answered IOERR until SIGUSR1 clears this")
	}
	return nil
}
