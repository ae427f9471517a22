package virtiotest

import "sync/atomic"

// What the device may be writing or reading at the same time is accessed atomically. Go has no 16-bit atomics.

func load16(addr uint64) uint16 {
	return uint16(atomic.LoadUint32(word(addr&^3)) >> (addr % 4 * 8))
}

func load32(addr uint64) uint32 { return atomic.LoadUint32(word(addr)) }
func load64(addr uint64) uint64 { return atomic.LoadUint64(long(addr)) }

// store16 stores a halfword of which the other half of the word is the driver's, too.
func store16(addr uint64, v uint16) {
	p, shift := word(addr&^3), addr%4*8
	atomic.StoreUint32(p, atomic.LoadUint32(p)&^(0xffff<<shift)|uint32(v)<<shift)
}

func store32(addr uint64, v uint32) { atomic.StoreUint32(word(addr), v) }
func store64(addr, v uint64)        { atomic.StoreUint64(long(addr), v) }

// take32 returns the word at addr and clears it.
func take32(addr uint64) uint32 { return atomic.SwapUint32(word(addr), 0) }
