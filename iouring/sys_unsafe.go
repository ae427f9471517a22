package iouring

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's layouts, asserted at compile time.
var (
	_ [64]byte   = [unsafe.Sizeof(SQE{})]byte{}
	_ [8]byte    = [unsafe.Offsetof(SQE{}.off)]byte{}
	_ [16]byte   = [unsafe.Offsetof(SQE{}.addr)]byte{}
	_ [28]byte   = [unsafe.Offsetof(SQE{}.opFlags)]byte{}
	_ [32]byte   = [unsafe.Offsetof(SQE{}.userData)]byte{}
	_ [40]byte   = [unsafe.Offsetof(SQE{}.bufIndex)]byte{}
	_ [44]byte   = [unsafe.Offsetof(SQE{}.fileIndex)]byte{}
	_ [48]byte   = [unsafe.Offsetof(SQE{}.addr3)]byte{}
	_ [16]byte   = [unsafe.Sizeof(CQE{})]byte{}
	_ [16]byte   = [unsafe.Sizeof(Iovec{})]byte{}
	_ [120]byte  = [unsafe.Sizeof(setupParams{})]byte{}
	_ [40]byte   = [unsafe.Offsetof(setupParams{}.sqOff)]byte{}
	_ [80]byte   = [unsafe.Offsetof(setupParams{}.cqOff)]byte{}
	_ [32]byte   = [unsafe.Offsetof(sqOffsets{}.userAddr)]byte{}
	_ [32]byte   = [unsafe.Offsetof(cqOffsets{}.userAddr)]byte{}
	_ [16]byte   = [unsafe.Sizeof(filesUpdate{})]byte{}
	_ [8]byte    = [unsafe.Sizeof(opProbeEntry{})]byte{}
	_ [16]byte   = [unsafe.Offsetof(opProbe{}.ops)]byte{}
	_ [2064]byte = [unsafe.Sizeof(opProbe{})]byte{}
)

// setup is io_uring_setup(2).
func setup(entries uint32, p *setupParams) (int, unix.Errno) {
	// Safe because p has the kernel's layout, stays alive through the call, and the kernel keeps no pointer to it.
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	return int(fd), errno
}

// enter is io_uring_enter(2). Never a RawSyscall: it blocks, and the runtime must know, or every garbage collection
// waits for the guest's next request.
func enter(fd uintptr, toSubmit, wait uint32, flags uintptr) unix.Errno {
	// Safe because no pointer is passed: the addresses in the SQEs are off-heap, which is our callers' contract.
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, fd, uintptr(toSubmit), uintptr(wait), flags, 0, 0)
	return errno
}

// register is io_uring_register(2); n counts the elements at arg, or is what the operation wants there.
func register(fd int, op registerOp, arg unsafe.Pointer, n int) (int, unix.Errno) {
	// Safe because the converted pointer keeps its object alive through the call, and the kernel copies what it needs.
	r, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), uintptr(op), uintptr(arg), uintptr(n), 0, 0)
	return int(r), errno
}

// registerNone is a register call without an argument.
func registerNone(fd int, op registerOp) unix.Errno {
	// Safe because nil is passed.
	_, errno := register(fd, op, nil, 0)
	return errno
}

// registerSlice is a register call with an array.
func registerSlice[T int32 | uint32 | Iovec](fd int, op registerOp, s []T) unix.Errno {
	// Safe because T is a kernel layout without Go pointers and the kernel is told the slice's own length.
	_, errno := register(fd, op, unsafe.Pointer(unsafe.SliceData(s)), len(s))
	return errno
}

// registerCPUs is a register call with a set of CPUs; the kernel takes its size in bytes.
func registerCPUs(fd int, op registerOp, set *unix.CPUSet) unix.Errno {
	// Safe because the set is a bitmap without Go pointers, and the kernel is told its own size.
	_, errno := register(fd, op, unsafe.Pointer(set), int(unsafe.Sizeof(*set)))
	return errno
}

// registerProbeOps asks which operations the kernel has.
func registerProbeOps(fd int, p *opProbe) unix.Errno {
	// Safe because p has the kernel's layout and room for the number of operations that is passed.
	_, errno := register(fd, registerProbe, unsafe.Pointer(p), len(p.ops))
	return errno
}

// registerUpdate is a register call with one struct io_uring_rsrc_update; the result is the number of updates done.
func registerUpdate(fd int, op registerOp, u *filesUpdate) (int, unix.Errno) {
	// Safe because u has the kernel's layout, and what u.fds may point to is pinned by the caller (updateFile).
	return register(fd, op, unsafe.Pointer(u), 1)
}

// updateFile puts one descriptor into a slot of the registered files.
func updateFile(ring int, slot uint32, fd int32) (int, unix.Errno) {
	// Safe because file is pinned while its address is an integer, and the kernel reads it during the call only.
	var pin runtime.Pinner
	defer pin.Unpin()
	file := new(int32)
	*file = fd
	pin.Pin(file)
	u := filesUpdate{offset: slot, fds: uint64(uintptr(unsafe.Pointer(file)))}
	return registerUpdate(ring, registerFilesUpdate, &u)
}

// word returns the 32-bit word at off of a mapped ring.
func word(ring []byte, off uint32) *uint32 {
	// Safe because the slice expression checks that all four bytes are inside, the kernel aligns its offsets, and the
	// mapping outlives the Ring's use of the pointer (Close drops both).
	return (*uint32)(unsafe.Pointer(unsafe.SliceData(ring[off : off+4])))
}

// sqesIn views a mapping as n submissions.
func sqesIn(mem []byte, n uint32) []SQE {
	// Safe because the slice expression checks the size, mappings are page aligned, and SQE has no Go pointers.
	size := int(n) * int(unsafe.Sizeof(SQE{}))
	return unsafe.Slice((*SQE)(unsafe.Pointer(unsafe.SliceData(mem[:size]))), n)
}

// cqesIn views n completions at off of a mapped ring.
func cqesIn(ring []byte, off, n uint32) []CQE {
	// Safe because the slice expression checks the size, the kernel aligns its offsets, and CQE has no Go pointers.
	end := int(off) + int(n)*int(unsafe.Sizeof(CQE{}))
	return unsafe.Slice((*CQE)(unsafe.Pointer(unsafe.SliceData(ring[off:end]))), n)
}

// indicesIn views the index array of a ring without NO_SQARRAY.
func indicesIn(ring []byte, off, n uint32) []uint32 {
	// Safe because the slice expression checks the size and the kernel aligns its offsets.
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(ring[off:off+4*n]))), n)
}

// address returns where off-heap memory begins, as the integer that goes into an SQE.
func address(mem []byte) uint64 {
	// Safe because mem is a part of an Arena's mapping, which no garbage collector moves.
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem))))
}
