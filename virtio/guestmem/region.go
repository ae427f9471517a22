package guestmem

import (
	"sync"
	"sync/atomic"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// RegionInfo describes a region as the front-end's message does.
type RegionInfo struct {
	GPA      GPA
	Size     uint64
	UserAddr FrontendVA
	Offset   uint64 // of the region's first byte in the descriptor's file
}

// Region is a piece of guest memory, mapped into this process. It is unmapped with its last reference: the creator's
// (dropped by Close) or that of the last Table that contains it.
type Region struct {
	mapping // which may begin before host and end behind it (huge pages)
	info    RegionInfo
	host    uint64 // host address of the byte at info.GPA
	// sealed is advice for a report, not a guarantee for us: only some kinds of files can be sealed at all.
	sealed bool

	refs   atomic.Int32
	closed atomic.Bool
}

// Map maps the region that info describes of the file fd, which stays the caller's. The file must be large enough
// now; it may still shrink later, see Recover. An error says what in info cannot be, or is the kernel's (mmap(2)).
func Map(fd int, info RegionInfo) (*Region, error) {
	if err := info.check(); err != nil {
		return nil, err
	}
	page, err := inspect(fd, info)
	if err != nil {
		return nil, err
	}
	// mmap(2) wants offsets in pages of the file, which are huge pages on hugetlbfs; munmap(2) wants whole ones too.
	lead := info.Offset & (page - 1)
	if info.Size > MaxMapping-lead-page {
		return nil, errors.Errorf("region of %#x bytes is too large to map", info.Size)
	}
	r := &Region{info: info, mapping: mapping{size: (lead + info.Size + page - 1) &^ (page - 1)}}
	oneAtATime.Lock()
	r.base, err = mapShared(fd, info.Offset-lead, r.size)
	oneAtATime.Unlock()
	if err != nil {
		return nil, errors.Wrapf(err, "map region gpa=%#x size=%#x offset=%#x", info.GPA, info.Size, info.Offset)
	}
	r.host = r.base + lead
	r.refs.Store(1)
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	r.sealed = err == nil && seals&unix.F_SEAL_SHRINK != 0
	// A guest's RAM has no place in our core dumps. Where the kernel cannot leave it out nothing else suffers.
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(r.base), uintptr(r.size), unix.MADV_DONTDUMP)
	live.add(&r.mapping)
	return r, nil
}

// oneAtATime is held while the address space changes. The kernel lets one thread at a time do that (mmap_lock), and the
// runtime starts a thread for each that waits in the kernel and never ends it: a thousand front-ends that leave together
// wait here instead.
var oneAtATime sync.Mutex

// MaxMapping keeps every sum of an offset and a length far from the sign bit of off_t.
const MaxMapping = 1 << 62

func (i RegionInfo) check() error {
	switch {
	case i.Size == 0:
		return errors.New("region of size 0")
	case i.Size >= MaxMapping || i.Offset >= MaxMapping:
		return errors.Errorf("region size %#x at offset %#x is out of range", i.Size, i.Offset)
	case uint64(i.GPA)+(i.Size-1) < uint64(i.GPA):
		return errors.Errorf("region gpa=%#x size=%#x wraps around", i.GPA, i.Size)
	case uint64(i.UserAddr)+(i.Size-1) < uint64(i.UserAddr):
		return errors.Errorf("region user address %#x size=%#x wraps around", i.UserAddr, i.Size)
	}
	return nil
}

// remote are the file systems on which a page fault waits for a server. It cannot be interrupted, and it would stop a
// worker that other exports share.
var remote = map[uint32]string{
	unix.FUSE_SUPER_MAGIC: "FUSE", // and virtiofs
	unix.NFS_SUPER_MAGIC:  "NFS",
	unix.CIFS_SUPER_MAGIC: "CIFS",
	unix.SMB2_SUPER_MAGIC: "SMB",
	unix.V9FS_MAGIC:       "9p",
	unix.CEPH_SUPER_MAGIC: "Ceph",
}

// fstatfs is replaced in a test, where none of these is mounted.
var fstatfs = unix.Fstatfs

// inspect checks that the file holds the region and returns its page size.
func inspect(fd int, info RegionInfo) (page uint64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, errors.Wrap(err, "stat the region's file")
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if uint64(st.Size) < info.Offset+info.Size {
			return 0, errors.Errorf("region ends at %#x of a file of %#x bytes", info.Offset+info.Size, st.Size)
		}
	case unix.S_IFCHR: // device DAX has no size to look at; mmap checks it
	default:
		return 0, errors.Errorf("region's file has mode %#o: not memory", st.Mode)
	}
	page = uint64(unix.Getpagesize())
	var fs unix.Statfs_t
	if err := fstatfs(fd, &fs); err != nil {
		return 0, errors.Wrap(err, "statfs the region's file")
	}
	if name := remote[uint32(fs.Type)]; name != "" {
		return 0, errors.Errorf("region's file is on %s, which may never answer: share memory from memfd, hugetlbfs or tmpfs", name)
	}
	if fs.Type == unix.HUGETLBFS_MAGIC {
		if page = uint64(fs.Bsize); page == 0 || page&(page-1) != 0 {
			return 0, errors.Errorf("huge page size %#x is not a power of two", page)
		}
	}
	return page, nil
}

// Info returns what the region was mapped from.
func (r *Region) Info() RegionInfo { return r.info }

// HostAddr is where the region's first byte is mapped here.
func (r *Region) HostAddr() uint64 { return r.host }

// Sealed tells that the file behind the region cannot shrink any more (F_SEAL_SHRINK, fcntl(2)), so that accesses cannot
// fault for that reason. Worth a line in a log when it is not so; nothing depends on it.
func (r *Region) Sealed() bool { return r.sealed }

// Close drops the creator's reference. Tables that contain the region keep it mapped. Idempotent.
func (r *Region) Close() {
	if !r.closed.Swap(true) {
		r.release()
	}
}

// retain takes a reference, unless there is none left to share.
func (r *Region) retain() bool {
	for {
		n := r.refs.Load()
		if n <= 0 {
			return false
		}
		if r.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (r *Region) release() {
	switch n := r.refs.Add(-1); {
	case n > 0:
	case n < 0:
		panic("guestmem: region released more often than retained")
	default:
		live.remove(&r.mapping)
		oneAtATime.Lock()
		err := unmap(r.base, r.size)
		oneAtATime.Unlock()
		if err != nil {
			panic(err) // the arguments are those of a mapping that we made: our own bug
		}
	}
}
