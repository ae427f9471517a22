package iouring

import (
	"math"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// RegisterFiles gives the ring a table of files, which SQEs with the FixedFile flag name by index: no reference is
// counted per operation. -1 leaves a slot empty. The table holds the files open until UnregisterFiles or Close.
func (r *Ring) RegisterFiles(fds []int) error {
	table := make([]int32, len(fds))
	for i, fd := range fds {
		table[i] = int32(fd)
	}
	return registerError("register files", registerSlice(r.fd.Int(), registerFiles, table))
}

// UpdateFile puts fd into a slot of the table, or with -1 empties it. Operations that have started keep the old file.
func (r *Ring) UpdateFile(slot, fd int) error {
	if slot < 0 || slot > math.MaxInt32 {
		return errors.Errorf("there is no file slot %d", slot)
	}
	_, errno := updateFile(r.fd.Int(), uint32(slot), int32(fd))
	return registerError("update a registered file", errno)
}

// UnregisterFiles drops the table.
func (r *Ring) UnregisterFiles() error {
	return registerError("unregister files", registerNone(r.fd.Int(), unregisterFiles))
}

// RegisterBuffers pins memory, outside the Go heap, for ReadFixed and WriteFixed, which name it by index: pages are not
// looked up per operation. It counts against RLIMIT_MEMLOCK.
func (r *Ring) RegisterBuffers(buffers []Iovec) error {
	return registerError("register buffers", registerSlice(r.fd.Int(), registerBuffers, buffers))
}

// UnregisterBuffers unpins them, once the operations that use them are done.
func (r *Ring) UnregisterBuffers() error {
	return registerError("unregister buffers", registerNone(r.fd.Int(), unregisterBuffers))
}

// RegisterRingFD puts the ring into the calling thread's own table, which makes Enter cheaper. The owner calls it,
// after Enable. Without FeatureRegisteredRing it is an *UnsupportedError, and nothing has changed.
func (r *Ring) RegisterRingFD() error {
	if r.ringTID != 0 {
		return nil
	}
	if !r.features.Has(FeatureRegisteredRing) {
		return missing(FeatureRegisteredRing)
	}
	u := filesUpdate{offset: math.MaxUint32, fds: uint64(r.fd.Int())} // any free index
	if _, errno := registerUpdate(r.fd.Int(), registerRingFDs, &u); errno != 0 {
		return registerError("register a ring's descriptor", errno)
	}
	r.ringTID = unix.Gettid()
	r.enterFD, r.enterFlags = uintptr(u.offset), enterGetEvents|enterRegisteredRing
	return nil
}

// UnregisterRingFD undoes RegisterRingFD; Close does it too. On any other thread it leaves the table alone, where the
// same index may mean another ring: the entry then goes with its thread, and keeps the ring alive until that ends.
func (r *Ring) UnregisterRingFD() error {
	if r.ringTID == 0 {
		return nil
	}
	u := filesUpdate{offset: uint32(r.enterFD)}
	mine := r.ringTID == unix.Gettid()
	r.enterFD, r.enterFlags, r.ringTID = uintptr(r.fd.Int()), enterGetEvents, 0
	if !mine {
		return nil
	}
	_, errno := registerUpdate(r.fd.Int(), unregisterRingFDs, &u)
	return registerError("unregister a ring's descriptor", errno)
}

// SetIOWQWorkers limits the io-wq threads of the ring's submitter: bounded run operations on files and block devices,
// unbounded those that may wait forever. 0 leaves a limit as it is. The kernel applies it per NUMA node before 6.4.
func (r *Ring) SetIOWQWorkers(bounded, unbounded uint32) error {
	_, _, err := r.iowqWorkers(bounded, unbounded)
	return err
}

// IOWQWorkers returns the limits.
func (r *Ring) IOWQWorkers() (bounded, unbounded uint32, err error) { return r.iowqWorkers(0, 0) }

// iowqWorkers sets the limits that are not 0 and returns the old ones.
func (r *Ring) iowqWorkers(bounded, unbounded uint32) (oldBounded, oldUnbounded uint32, err error) {
	limits := []uint32{bounded, unbounded}
	errno := registerSlice(r.fd.Int(), registerIOWQMaxWorkers, limits)
	return limits[0], limits[1], registerError("limit io-wq threads", errno)
}

// SetIOWQAffinity says where the io-wq threads of the ring's submitter run, those that start from now on. The submitter calls
// it, after its first Enter: before that the kernel does not know the two as a pair, and answers EINVAL. Since Linux 6.2
// they also stay on the CPUs that sched_setaffinity(2) gave to the submitter's thread, unless the two have none in common.
func (r *Ring) SetIOWQAffinity(cpus unix.CPUSet) error {
	return registerError("place io-wq threads", registerCPUs(r.fd.Int(), registerIOWQAffinity, &cpus))
}

// registerError explains what io_uring_register answered; nil for success.
func registerError(what string, errno unix.Errno) error {
	switch errno {
	case 0:
		return nil
	case unix.EEXIST:
		return errors.Wrap(errno, what+": this is not the thread that enabled the ring; its goroutine must call"+
			" runtime.LockOSThread before Enable and never unlock")
	case unix.ENOMEM:
		return errors.Wrap(errno, what+": raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK= in a systemd unit)")
	case unix.EMFILE:
		return errors.Wrap(errno, what+": raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE= in a systemd unit)")
	default:
		return errors.Wrap(errno, what)
	}
}
