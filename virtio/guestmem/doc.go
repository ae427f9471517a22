// Package guestmem maps a guest's memory and finds things in it.
//
// # Regions, tables, addresses
//
// A front-end shares its guest's RAM as regions: a memfd each, with the guest-physical address (GPA) that the guest
// uses and the front-end's virtual address (FrontendVA) that ring addresses are given in. Map makes a Region of one
// message, NewTable a Table of many. Both are immutable. A Table counts its references and holds one on each of its
// regions; the last reference to a region unmaps it, so a region may belong to an old and a new table at once. Nobody
// may release a table under which the kernel still reads or writes guest memory.
//
//	region, err := guestmem.Map(fd, guestmem.RegionInfo{GPA: 0, Size: 1 << 30, UserAddr: va})
//	table, err := guestmem.NewTable(region) // holds a reference of its own
//	region.Close()
//	segments, err := table.Translate(gpa, 4096, make([]guestmem.Iovec, 0, 8))
//	n := guestmem.CopyIn(buffer, segments)  // under the guard below
//	table.Release()                         // the last one unmaps
//
// # Who may call
//
// Any goroutine may use a Table. A Lookup (a Table and the memory of the last hit) belongs to one goroutine.
//
// Host addresses are uint64, never pointers: a stale pointer to an unmapped page that later belongs to the Go heap
// would be fatal to the garbage collector, and what ends up in an SQE must not be moved or found by it.
//
// # What is trusted
//
// Nothing here trusts the front-end or the guest: sizes, offsets and sums are checked, and memory that vanishes
// because somebody truncated the memfd is a *FaultError for a goroutine that asked for it:
//
//	defer guestmem.Recover(&err)
//	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
//
// In a goroutine that does not, such a fault ends the process. The guard costs about 20 ns: take it per batch.
//
// A DirtyLog (dirty.go) is a front-end's memory, too: where we note, while a guest migrates, what we have written.
//
// Read next: table.go, then package virtio.
package guestmem
