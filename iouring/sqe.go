package iouring

// Prep methods fill a zeroed SQE; io_uring_enter(2) describes the operations. Addresses are those of memory outside the
// Go heap and stacks, which stays mapped until the CQE has been reaped. fd is a descriptor, or with FixedFile a slot.

// noFD stands where an operation takes no file.
const noFD = -1

// SetUserData sets what the CQE carries back.
func (s *SQE) SetUserData(u uint64) { s.userData = u }

// SetFlags replaces the flags.
func (s *SQE) SetFlags(f SQEFlags) { s.flags = f }

// SetRWFlags sets the RWF* flags of a read or write, after its prep method.
func (s *SQE) SetRWFlags(f uint32) { s.opFlags = f }

func (s *SQE) transfer(op opcode, fd int32, addr uint64, n uint32, off uint64) {
	s.opcode, s.fd, s.addr, s.len, s.off = op, fd, addr, n, off
}

// Nop does nothing and completes with 0.
func (s *SQE) Nop() { s.opcode, s.fd = opNop, noFD }

// Read reads up to n bytes at off into addr; Res is the count.
func (s *SQE) Read(fd int32, addr uint64, n uint32, off uint64) { s.transfer(opRead, fd, addr, n, off) }

// Write writes up to n bytes from addr at off; Res is the count.
func (s *SQE) Write(fd int32, addr uint64, n uint32, off uint64) {
	s.transfer(opWrite, fd, addr, n, off)
}

// Readv reads at off into the n iovecs at address iov, which may be reused after Enter (IORING_FEAT_SUBMIT_STABLE).
func (s *SQE) Readv(fd int32, iov uint64, n uint32, off uint64, rwFlags uint32) {
	s.transfer(opReadv, fd, iov, n, off)
	s.opFlags = rwFlags
}

// Writev writes the n iovecs at address iov at off; they may be reused after Enter.
func (s *SQE) Writev(fd int32, iov uint64, n uint32, off uint64, rwFlags uint32) {
	s.transfer(opWritev, fd, iov, n, off)
	s.opFlags = rwFlags
}

// ReadFixed is Read into a part of registered buffer buf.
func (s *SQE) ReadFixed(fd int32, addr uint64, n uint32, off uint64, buf uint16) {
	s.transfer(opReadFixed, fd, addr, n, off)
	s.bufIndex = buf
}

// WriteFixed is Write from a part of registered buffer buf.
func (s *SQE) WriteFixed(fd int32, addr uint64, n uint32, off uint64, buf uint16) {
	s.transfer(opWriteFixed, fd, addr, n, off)
	s.bufIndex = buf
}

// Fsync is fsync(2), or fdatasync(2). It covers writes that have completed, not those in flight. It always runs in an
// io-wq thread.
func (s *SQE) Fsync(fd int32, datasync bool) {
	s.opcode, s.fd = opFsync, fd
	if datasync {
		s.opFlags = fsyncDatasync
	}
}

// Fallocate is fallocate(2) with mode FALLOC_FL_*.
func (s *SQE) Fallocate(fd int32, mode uint32, off, n uint64) {
	s.opcode, s.fd, s.len, s.off, s.addr = opFallocate, fd, mode, off, n
}

// PollAdd waits for events (poll(2)); Res is the mask. A multishot one gives a CQE for every wake-up, as long as they
// carry CQEFMore: without it (the CQ overflowed, an error, PollRemove) it has ended and is to be armed again.
func (s *SQE) PollAdd(fd int32, events uint32, multishot bool) {
	s.opcode, s.fd, s.opFlags = opPollAdd, fd, events
	if multishot {
		s.len = pollAddMulti
	}
}

// PollRemove ends the PollAdd with this user data, which completes with -ECANCELED. Res is 0, or -ENOENT.
func (s *SQE) PollRemove(userData uint64) { s.opcode, s.fd, s.addr = opPollRemove, noFD, userData }

// Timeout completes with -ETIME when the timespec at address ts (see PutTimespec) has passed, or with 0 after count
// completions when count is not 0. The timespec may be reused after Enter.
func (s *SQE) Timeout(ts uint64, count, flags uint32) {
	s.opcode, s.fd, s.addr, s.len = opTimeout, noFD, ts, 1
	s.off, s.opFlags = uint64(count), flags
}

// TimeoutRemove ends the Timeout with this user data, which completes with -ECANCELED. Res is 0, -ENOENT or -EBUSY.
func (s *SQE) TimeoutRemove(userData uint64) {
	s.opcode, s.fd, s.addr = opTimeoutRemove, noFD, userData
}

// Cancel tries to end the request with this user data, which completes with -ECANCELED, or normally when it was too
// late. Res is 0, -ENOENT (there is none) or -EALREADY (it is running); with CancelAll or CancelAny the number found.
func (s *SQE) Cancel(userData uint64, flags uint32) {
	s.opcode, s.fd, s.addr, s.opFlags = opAsyncCancel, noFD, userData, flags
}

// MsgRing posts CQE{userData, res} to the enabled ring with descriptor ring and wakes its owner (FeatureMsgRing).
// The CQE here has Res 0, or -EBADFD when that ring is not enabled yet. A full CQ there overflows and loses nothing.
func (s *SQE) MsgRing(ring int32, userData uint64, res int32) {
	s.opcode, s.fd, s.off, s.len = opMsgRing, ring, userData, uint32(res)
}

// BlockDiscard discards n bytes at off of block device fd (FeatureBlockDiscard). Reads still in flight, and cached
// pages, are the caller's to order. Res is 0, or -EOPNOTSUPP when the device or the kernel cannot.
func (s *SQE) BlockDiscard(fd int32, off, n uint64) {
	s.opcode, s.fd, s.off = opUringCmd, fd, blockURingCmdDiscard
	s.addr, s.addr3 = off, n
}
