package iouring

// The kernel's ABI, as in include/uapi/linux/io_uring.h. Layouts are asserted in sys_unsafe.go.

// SQEFlags changes how one submission is treated (IOSQE_*).
type SQEFlags uint8

// Flags of a submission.
const (
	FixedFile   SQEFlags = 1 << 0 // IOSQE_FIXED_FILE: fd is a slot of RegisterFiles
	IODrain     SQEFlags = 1 << 1 // IOSQE_IO_DRAIN: start after everything before it has completed
	IOLink      SQEFlags = 1 << 2 // IOSQE_IO_LINK: the next one starts after this one succeeded, else it is cancelled
	IOHardlink  SQEFlags = 1 << 3 // IOSQE_IO_HARDLINK: the next one starts after this one, whatever its result
	Async       SQEFlags = 1 << 4 // IOSQE_ASYNC: go to an io-wq thread at once
	SkipSuccess SQEFlags = 1 << 6 // IOSQE_CQE_SKIP_SUCCESS: no CQE on success; see FeatureCQESkip
)

// Flags of a completion (CQE.Flags).
const (
	CQEFMore uint32 = 1 << 1 // IORING_CQE_F_MORE: the submission is still armed; without it a multishot has ended
)

// Flags of one read or write (readv2(2)), for Readv, Writev and SetRWFlags.
const (
	RWFHipri  uint32 = 0x1 // RWF_HIPRI
	RWFDsync  uint32 = 0x2 // RWF_DSYNC: this write is on stable storage when it completes
	RWFSync   uint32 = 0x4 // RWF_SYNC
	RWFNowait uint32 = 0x8 // RWF_NOWAIT: -EAGAIN where it would block
)

// Flags of Timeout.
const (
	TimeoutAbs          uint32 = 1 << 0 // IORING_TIMEOUT_ABS: a point in time, not a duration
	TimeoutETimeSuccess uint32 = 1 << 5 // IORING_TIMEOUT_ETIME_SUCCESS (5.16): expiring does not break a link
)

// Flags of Cancel. Kernels before 5.19 know none and answer -EINVAL.
const (
	CancelAll uint32 = 1 << 0 // IORING_ASYNC_CANCEL_ALL: every match, not the first; Res is their number
	CancelAny uint32 = 1 << 2 // IORING_ASYNC_CANCEL_ANY: everything, whatever its user data; Res is their number
)

// Limits of the interface, for callers that size their queues and split their requests.
const (
	MaxEntries   = 32768      // IORING_MAX_ENTRIES
	MaxCQEntries = 65536      // IORING_MAX_CQ_ENTRIES
	MaxIovecs    = 1024       // UIO_MAXIOV: iovecs in one Readv or Writev
	MaxTransfer  = 0x7ffff000 // MAX_RW_COUNT: bytes that one read or write moves; more is cut short without an error
	MaxBuffers   = 16384      // IORING_MAX_REG_BUFFERS
)

// opcode is enum io_uring_op.
type opcode uint8

const (
	opNop           opcode = 0  // IORING_OP_NOP
	opReadv         opcode = 1  // IORING_OP_READV
	opWritev        opcode = 2  // IORING_OP_WRITEV
	opFsync         opcode = 3  // IORING_OP_FSYNC
	opReadFixed     opcode = 4  // IORING_OP_READ_FIXED
	opWriteFixed    opcode = 5  // IORING_OP_WRITE_FIXED
	opPollAdd       opcode = 6  // IORING_OP_POLL_ADD
	opPollRemove    opcode = 7  // IORING_OP_POLL_REMOVE
	opTimeout       opcode = 11 // IORING_OP_TIMEOUT
	opTimeoutRemove opcode = 12 // IORING_OP_TIMEOUT_REMOVE
	opAsyncCancel   opcode = 14 // IORING_OP_ASYNC_CANCEL
	opFallocate     opcode = 17 // IORING_OP_FALLOCATE
	opRead          opcode = 22 // IORING_OP_READ
	opWrite         opcode = 23 // IORING_OP_WRITE
	opMsgRing       opcode = 40 // IORING_OP_MSG_RING
	opUringCmd      opcode = 46 // IORING_OP_URING_CMD
)

const (
	fsyncDatasync = 1 << 0 // IORING_FSYNC_DATASYNC
	pollAddMulti  = 1 << 0 // IORING_POLL_ADD_MULTI, in sqe->len

	// BLOCK_URING_CMD_DISCARD, _IO(0x12, 0) in include/uapi/linux/blkdev.h. _IO's direction bits are 0 on every
	// architecture that we build for.
	blockURingCmdDiscard = 0x1200
)

// SQE is struct io_uring_sqe, a submission queue entry in memory shared with the kernel. It comes from Ring.SQE,
// zeroed, and is the owner's until the next Enter. Exactly one prep method (Nop, Read, ...) is called on it, then Set*.
type SQE struct {
	opcode      opcode
	flags       SQEFlags
	ioprio      uint16
	fd          int32
	off         uint64 // or addr2, or cmd_op in the low half
	addr        uint64
	len         uint32
	opFlags     uint32 // rw_flags, fsync_flags, poll32_events, timeout_flags, cancel_flags
	userData    uint64
	bufIndex    uint16
	personality uint16
	fileIndex   uint32
	addr3       uint64
	pad         uint64
}

// CQE is struct io_uring_cqe, a completion.
type CQE struct {
	UserData uint64 // what SetUserData put into the submission
	Res      int32  // the operation's result; below 0: a negated errno
	Flags    uint32 // CQEF*
}

// Iovec is struct iovec with the address as an integer: what Readv and Writev read from memory, and what
// RegisterBuffers takes.
type Iovec struct {
	Base, Len uint64
}

const (
	setupCQSize       = 1 << 3  // IORING_SETUP_CQSIZE
	setupRDisabled    = 1 << 6  // IORING_SETUP_R_DISABLED (5.10)
	setupSubmitAll    = 1 << 7  // IORING_SETUP_SUBMIT_ALL
	setupCoopTaskrun  = 1 << 8  // IORING_SETUP_COOP_TASKRUN
	setupTaskrunFlag  = 1 << 9  // IORING_SETUP_TASKRUN_FLAG
	setupSingleIssuer = 1 << 12 // IORING_SETUP_SINGLE_ISSUER
	setupDeferTaskrun = 1 << 13 // IORING_SETUP_DEFER_TASKRUN
	setupNoSQArray    = 1 << 16 // IORING_SETUP_NO_SQARRAY
)

const (
	featSingleMmap    = 1 << 0  // IORING_FEAT_SINGLE_MMAP
	featNoDrop        = 1 << 1  // IORING_FEAT_NODROP
	featSubmitStable  = 1 << 2  // IORING_FEAT_SUBMIT_STABLE
	featFastPoll      = 1 << 5  // IORING_FEAT_FAST_POLL
	featNativeWorkers = 1 << 9  // IORING_FEAT_NATIVE_WORKERS
	featRsrcTags      = 1 << 10 // IORING_FEAT_RSRC_TAGS (5.13, which also brought multishot poll)
	featCQESkip       = 1 << 11 // IORING_FEAT_CQE_SKIP
)

const (
	sqCQOverflow = 1 << 1 // IORING_SQ_CQ_OVERFLOW
	sqTaskrun    = 1 << 2 // IORING_SQ_TASKRUN

	enterGetEvents      = 1 << 0 // IORING_ENTER_GETEVENTS
	enterRegisteredRing = 1 << 4 // IORING_ENTER_REGISTERED_RING

	offSQRing = 0          // IORING_OFF_SQ_RING: both rings, with IORING_FEAT_SINGLE_MMAP
	offSQEs   = 0x10000000 // IORING_OFF_SQES
)

// registerOp is the opcode of io_uring_register(2).
type registerOp uintptr

const (
	registerBuffers        registerOp = 0  // IORING_REGISTER_BUFFERS
	unregisterBuffers      registerOp = 1  // IORING_UNREGISTER_BUFFERS
	registerFiles          registerOp = 2  // IORING_REGISTER_FILES
	unregisterFiles        registerOp = 3  // IORING_UNREGISTER_FILES
	registerFilesUpdate    registerOp = 6  // IORING_REGISTER_FILES_UPDATE
	registerProbe          registerOp = 8  // IORING_REGISTER_PROBE
	registerEnableRings    registerOp = 12 // IORING_REGISTER_ENABLE_RINGS
	registerIOWQAffinity   registerOp = 17 // IORING_REGISTER_IOWQ_AFF
	registerIOWQMaxWorkers registerOp = 19 // IORING_REGISTER_IOWQ_MAX_WORKERS
	registerRingFDs        registerOp = 20 // IORING_REGISTER_RING_FDS
	unregisterRingFDs      registerOp = 21 // IORING_UNREGISTER_RING_FDS
)

// setupParams is struct io_uring_params.
type setupParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	resv                                                                   [3]uint32
	sqOff                                                                  sqOffsets
	cqOff                                                                  cqOffsets
}

// sqOffsets is struct io_sqring_offsets.
type sqOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, resv1 uint32
	userAddr                                                        uint64
}

// cqOffsets is struct io_cqring_offsets.
type cqOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, resv1 uint32
	userAddr                                                        uint64
}

// filesUpdate is struct io_uring_files_update; also struct io_uring_rsrc_update, where fds is data.
type filesUpdate struct {
	offset, resv uint32
	fds          uint64
}

// opProbe is struct io_uring_probe with room for every opcode.
type opProbe struct {
	lastOp, opsLen uint8
	resv           uint16
	resv2          [3]uint32
	ops            [256]opProbeEntry
}

// opProbeEntry is struct io_uring_probe_op.
type opProbeEntry struct {
	op, resv uint8
	flags    uint16 // bit 0: IO_URING_OP_SUPPORTED
	resv2    uint32
}

func (p *opProbe) has(op opcode) bool { return p.ops[op].flags&1 != 0 }
