package vhostuser_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
)

const mib = 1 << 20

// regionAt is the i-th MiB of a guest, and of its front-end.
func regionAt(i uint64) guestmem.RegionInfo {
	return guestmem.RegionInfo{
		GPA: guestmem.GPA(i * mib), Size: mib, UserAddr: traceUVA + guestmem.FrontendVA(i*mib), Offset: i * mib,
	}
}

func newMemoryRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, vhostuser.Options{})
	r.negotiate(allFeatures)
	return r
}

func TestMemoryTableIsReplacedWhileARingRuns(t *testing.T) {
	r, memory := newRing(t)
	call := eventfd(t)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	other := traceRegion
	other.UserAddr += 0x1000000000
	other.GPA = guestmem.GPA(traceSize)
	for range 3 {
		r.ok(vhostuser.RequestSetMemTable, ut.MemTable(traceRegion, other), memory, memory)
		r.ok(vhostuser.RequestSetMemTable, ut.MemTable(traceRegion), memory)
		r.ok(vhostuser.RequestAddMemReg, ut.MemReg(other), memory)
		r.ok(vhostuser.RequestRemMemReg, ut.MemReg(other), memory)
	}
	r.ok(vhostuser.RequestSetVringCall, ut.U64(0), call)
	if r.drained(call) != 1 {
		t.Fatal("the ring does not live any more")
	}
	if b := r.base(0); b != 0 {
		t.Fatalf("base %d", b)
	}
	r.hangUp()
}

func TestMemoryTakenFromARunningRing(t *testing.T) {
	r, _ := newRing(t)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.ok(vhostuser.RequestSetMemTable, ut.MemTable()) // no region at all
	r.base(0)
	r.alive()
	r.hangUp()
}

func TestRemoveIgnoresTheOffset(t *testing.T) {
	r := newMemoryRig(t)
	r.addMemory()
	other := traceRegion
	other.Offset = 0x5000
	r.ok(vhostuser.RequestRemMemReg, ut.MemReg(other))
	r.refused(vhostuser.RequestRemMemReg, ut.MemReg(traceRegion))
	r.hangUp()
}

func TestRemoveOfUnknownRegions(t *testing.T) {
	r := newMemoryRig(t)
	r.refused(vhostuser.RequestRemMemReg, ut.MemReg(traceRegion))
	fd := r.addMemory()
	for _, change := range []func(*guestmem.RegionInfo){
		func(i *guestmem.RegionInfo) { i.GPA += 0x1000 },
		func(i *guestmem.RegionInfo) { i.Size -= 0x1000 },
		func(i *guestmem.RegionInfo) { i.UserAddr += 0x1000 },
	} {
		other := traceRegion
		change(&other)
		r.refused(vhostuser.RequestRemMemReg, ut.MemReg(other), fd)
	}
	r.ok(vhostuser.RequestRemMemReg, ut.MemReg(traceRegion))
	r.hangUp()
}

func TestSlotsAre509(t *testing.T) {
	r := newMemoryRig(t)
	fd := memfd(t, 511*mib)
	for i := range uint64(509) {
		r.ok(vhostuser.RequestAddMemReg, ut.MemReg(regionAt(i)), fd)
	}
	r.refused(vhostuser.RequestAddMemReg, ut.MemReg(regionAt(509)), fd)
	r.ok(vhostuser.RequestRemMemReg, ut.MemReg(regionAt(17)))
	r.ok(vhostuser.RequestAddMemReg, ut.MemReg(regionAt(510)), fd)
	r.hangUp()
}

func TestBadRegions(t *testing.T) {
	base := regionAt(4)
	for name, change := range map[string]func(*guestmem.RegionInfo){
		"overlap in guest addresses": func(i *guestmem.RegionInfo) { i.GPA += mib - 0x1000; i.UserAddr += mib },
		"overlap in user addresses":  func(i *guestmem.RegionInfo) { i.GPA += mib; i.UserAddr -= 0x1000 },
		"the same again":             func(*guestmem.RegionInfo) {},
		"size 0":                     func(i *guestmem.RegionInfo) { *i = regionAt(5); i.Size = 0 },
		"guest addresses wrap":       func(i *guestmem.RegionInfo) { *i = regionAt(5); i.GPA = ^guestmem.GPA(0) - 0xfff },
		"user addresses wrap": func(i *guestmem.RegionInfo) {
			*i = regionAt(5)
			i.UserAddr = ^guestmem.FrontendVA(0) - 0xfff
		},
		"offset wraps":  func(i *guestmem.RegionInfo) { *i = regionAt(5); i.Offset = ^uint64(0) - 0xfff },
		"enormous":      func(i *guestmem.RegionInfo) { *i = regionAt(5); i.Size = 1 << 62 },
		"past the file": func(i *guestmem.RegionInfo) { *i = regionAt(5); i.Offset = 8*mib - 0x1000 },
		"everything set": func(i *guestmem.RegionInfo) {
			i.GPA, i.Size, i.UserAddr, i.Offset = ^guestmem.GPA(0), ^uint64(0), 0, ^uint64(0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newMemoryRig(t)
			fd := memfd(t, 8*mib)
			r.ok(vhostuser.RequestAddMemReg, ut.MemReg(base), fd)
			bad := base
			change(&bad)
			r.refused(vhostuser.RequestAddMemReg, ut.MemReg(bad), fd)
			r.refused(vhostuser.RequestSetMemTable, ut.MemTable(base, bad), fd, fd)
			r.ok(vhostuser.RequestRemMemReg, ut.MemReg(base)) // the old table is still in force
			r.hangUp()
		})
	}
}

// A sparse file is as large as one likes; our address space is not.
func TestGuestMemoryIs16TiBAtMost(t *testing.T) {
	r := newMemoryRig(t)
	const size = 4 << 40
	fd := memfd(t, size)
	quarter := func(i uint64) guestmem.RegionInfo {
		return guestmem.RegionInfo{GPA: guestmem.GPA(i * size), Size: size, UserAddr: guestmem.FrontendVA(i * size)}
	}
	little := quarter(4)
	little.Size = 0x1000
	for i := range uint64(4) {
		r.ok(vhostuser.RequestAddMemReg, ut.MemReg(quarter(i)), fd)
	}
	r.refused(vhostuser.RequestAddMemReg, ut.MemReg(little), fd)
	all := []guestmem.RegionInfo{quarter(0), quarter(1), quarter(2), quarter(3)}
	r.ok(vhostuser.RequestSetMemTable, ut.MemTable(all...), fd, fd, fd, fd)
	r.refused(vhostuser.RequestSetMemTable, ut.MemTable(append(all, little)...), fd, fd, fd, fd, fd)
	r.ok(vhostuser.RequestRemMemReg, ut.MemReg(quarter(2)))
	r.ok(vhostuser.RequestAddMemReg, ut.MemReg(little), fd)
	r.hangUp()
}

func TestRegionFileMustBeMemory(t *testing.T) {
	r := newMemoryRig(t)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(pipe[0]), unix.Close(pipe[1]) }()
	r.refused(vhostuser.RequestAddMemReg, ut.MemReg(regionAt(0)), pipe[0])
	r.refused(vhostuser.RequestAddMemReg, ut.MemReg(regionAt(0)), eventfd(t))
	r.hangUp()
}

// An inherited socket may have SO_PASSCRED set: the credentials come before the descriptors and must not displace them.
func TestDescriptorsBesideCredentials(t *testing.T) {
	front, back, err := ut.Pair()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := back.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	r := newRigOn(t, vhostuser.Options{}, newFake(), front, back)
	r.negotiate(allFeatures)
	var infos []guestmem.RegionInfo
	var fds []int
	for i := range uint64(8) {
		infos, fds = append(infos, regionAt(i)), append(fds, memfd(t, 8*mib))
	}
	r.ok(vhostuser.RequestSetMemTable, ut.MemTable(infos...), fds...)
	r.hangUp()
}

// A front-end that truncates the memory in which the rings are: no signal kills us, and the message fails.
func TestRingInTruncatedMemory(t *testing.T) {
	r, memory := newRing(t)
	if err := unix.Ftruncate(memory, 0); err != nil {
		t.Fatal(err)
	}
	r.refused(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.alive()
	r.hangUp()
}

func TestUnalignedOffset(t *testing.T) {
	r := newMemoryRig(t)
	info := regionAt(0)
	info.Offset, info.UserAddr = 0x3000, 0x7f59f3fff000 // 4 KiB aligned is all that QEMU promises
	r.ok(vhostuser.RequestAddMemReg, ut.MemReg(info), memfd(t, 2*mib))
	r.hangUp()
}
