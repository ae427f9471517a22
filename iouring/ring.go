package iouring

import (
	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// Options says what ring to make.
type Options struct {
	Entries   uint32  // submissions, 1..MaxEntries; rounded up to a power of two
	CQEntries uint32  // completions, Entries..MaxCQEntries, rounded up alike; 0: twice the submissions
	Disable   Feature // do without these, as an older kernel does
}

// Ring is one io_uring instance. See the package comment for who may call what.
type Ring struct {
	sq         submissionQueue
	cq         completionQueue
	enterFD    uintptr // the descriptor, or with RegisterRingFD its index in the thread's table
	enterFlags uintptr
	features   Feature
	fd         *sys.FD
	ringTID    int // the thread whose table has the ring; 0: none
	maps       [][]byte
}

// floorFeatures are what every kernel from 5.15 on reports, and what this package is built on: one mapping for both
// rings, no completion is ever lost, iovecs may be reused after Enter, poll-driven retries, io-wq threads that are
// ours, multishot poll.
const floorFeatures = featSingleMmap | featNoDrop | featSubmitStable | featFastPoll | featNativeWorkers | featRsrcTags

// New makes a disabled ring with the best that the kernel has: Enable it on the thread that will submit. When the
// kernel cannot or may not, the error is an *UnsupportedError.
func New(o Options) (*Ring, error) { return newRing(host(), o) }

func newRing(k kernel, o Options) (*Ring, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	p, r, err := setupRing(k, o)
	if err != nil {
		return nil, err
	}
	if err := r.begin(k, p, o.Disable); err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

func (o Options) validate() error {
	if o.Entries == 0 || o.Entries > MaxEntries {
		return errors.Errorf("a ring of %d entries is not possible: 1 to %d are", o.Entries, MaxEntries)
	}
	if o.CQEntries != 0 && (o.CQEntries < o.Entries || o.CQEntries > MaxCQEntries) {
		return errors.Errorf("a ring of %d entries with %d completions is not possible: %d to %d are",
			o.Entries, o.CQEntries, o.Entries, MaxCQEntries)
	}
	return nil
}

// setupRing asks for everything and, while the kernel answers EINVAL, for less: a kernel that does not know a flag does
// not know the younger ones either.
func setupRing(k kernel, o Options) (*setupParams, *Ring, error) {
	for want := setupFeatures.without(o.Disable); ; want = want.withoutNewest() {
		p := &setupParams{flags: setupRDisabled | want.setupFlags()}
		if o.CQEntries != 0 {
			p.flags |= setupCQSize
			p.cqEntries = o.CQEntries
		}
		fd, errno := k.setup(o.Entries, p)
		if errno == 0 {
			return p, &Ring{fd: sys.NewFD(fd), features: want, enterFD: uintptr(fd), enterFlags: enterGetEvents}, nil
		}
		if errno != unix.EINVAL || want == 0 {
			return nil, nil, k.setupError(errno)
		}
	}
}

// begin maps the rings and learns what setup flags do not tell.
func (r *Ring) begin(k kernel, p *setupParams, disable Feature) error {
	if p.features&floorFeatures != floorFeatures {
		return k.tooOld(0)
	}
	if err := r.mapRings(p); err != nil {
		return err
	}
	ops := new(opProbe)
	if errno := registerProbeOps(r.fd.Int(), ops); errno != 0 {
		return k.setupError(errno)
	}
	r.features |= foundFeatures(k, p, ops) &^ disable
	return nil
}

// foundFeatures are those that need no setup flag.
func foundFeatures(k kernel, p *setupParams, ops *opProbe) (f Feature) {
	if p.features&featCQESkip != 0 {
		f |= FeatureCQESkip
	}
	if ops.has(opMsgRing) {
		f |= FeatureMsgRing | FeatureRegisteredRing // both came with 5.18; only the operation can be asked for
	}
	// No probe tells which commands a block device knows, short of sending one, so the release has to.
	if ops.has(opUringCmd) && k.atLeast(release{6, 12}) {
		f |= FeatureBlockDiscard
	}
	return f
}

// mapRings maps the two rings, which share a mapping, and the SQEs.
func (r *Ring) mapRings(p *setupParams) error {
	sqArray := !r.features.Has(FeatureNoSQArray)
	size := p.cqOff.cqes + p.cqEntries*16
	if sqArray {
		size = max(size, p.sqOff.array+p.sqEntries*4)
	}
	ring, err := r.mmap(offSQRing, int(size))
	if err != nil {
		return err
	}
	sqes, err := r.mmap(offSQEs, int(p.sqEntries)*64)
	if err != nil {
		return err
	}
	r.sq = submissionQueue{
		entries: sqesIn(sqes, p.sqEntries), mask: *word(ring, p.sqOff.ringMask), head: word(ring, p.sqOff.head),
		tail: word(ring, p.sqOff.tail), flags: word(ring, p.sqOff.flags),
	}
	r.cq = completionQueue{
		entries: cqesIn(ring, p.cqOff.cqes, p.cqEntries), mask: *word(ring, p.cqOff.ringMask),
		head: word(ring, p.cqOff.head), tail: word(ring, p.cqOff.tail),
	}
	if sqArray {
		// SQEs are used in the order of their slots, so the array that could say otherwise never changes.
		for i, index := uint32(0), indicesIn(ring, p.sqOff.array, p.sqEntries); i < p.sqEntries; i++ {
			index[i] = i
		}
	}
	return nil
}

func (r *Ring) mmap(offset int64, size int) ([]byte, error) {
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	mem, err := unix.Mmap(r.fd.Int(), offset, size, prot, flags)
	if err != nil {
		return nil, errors.Wrapf(err, "map %d bytes of an io_uring", size)
	}
	r.maps = append(r.maps, mem)
	return mem, nil
}

// Enable makes the calling thread the ring's submitter (IORING_REGISTER_ENABLE_RINGS). Its goroutine must have called
// runtime.LockOSThread.
func (r *Ring) Enable() error {
	return registerError("enable a ring", registerNone(r.fd.Int(), registerEnableRings))
}

// FD returns the ring's descriptor, for MsgRing and for polling; -1 after Close.
func (r *Ring) FD() int { return r.fd.Int() }

// Features returns what the ring has.
func (r *Ring) Features() Feature { return r.features }

// Entries returns the sizes of the two queues, after rounding.
func (r *Ring) Entries() (sq, cq uint32) { return uint32(len(r.sq.entries)), uint32(len(r.cq.entries)) }

// Close frees the ring; a second call does nothing. The kernel cancels what is in flight after Close has returned and
// may write to its memory until then, so reap everything first. SQEs must not be touched any more.
func (r *Ring) Close() error {
	err := r.UnregisterRingFD()
	r.sq, r.cq = submissionQueue{}, completionQueue{} // no pointer into what is unmapped now
	for _, mem := range r.maps {
		if e := unix.Munmap(mem); err == nil {
			err = errors.Wrap(e, "unmap an io_uring")
		}
	}
	r.maps = nil
	if e := r.fd.Close(); err == nil {
		err = e
	}
	return err
}
