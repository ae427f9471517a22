package iouring

import (
	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// Capability is one thing that a kernel has or lacks.
type Capability struct {
	Name    string // the kernel's
	Present bool
	Since   string // the kernel release that brought it
	Cost    string // what its absence costs, in one sentence
}

// Limits are what bounds rings and transfers on this host.
type Limits struct {
	IOURingDisabled int    // sysctl kernel.io_uring_disabled: 0 all may, 1 root and a group, 2 nobody; -1: none
	IOURingGroup    int    // sysctl kernel.io_uring_group; -1: none
	Memlock         uint64 // RLIMIT_MEMLOCK, bytes: bounds RegisterBuffers; ^0: unlimited
	OpenFiles       uint64 // RLIMIT_NOFILE
	Entries         uint32 // MaxEntries
	CQEntries       uint32 // MaxCQEntries
	Iovecs          uint32 // MaxIovecs
	Transfer        uint32 // MaxTransfer
}

// Capabilities is what io_uring can do on this host.
type Capabilities struct {
	Kernel   string       // release of the running kernel
	Features []Capability // what newer kernels bring, oldest first
	Ops      []Capability // operations that this package prepares
	Limits   Limits
}

// opInfo is what is known about an operation before asking a kernel.
type opInfo struct {
	op    opcode
	name  string
	since release
	cost  string
}

const opCost = "vublk does not work without it."

var opTable = [...]opInfo{
	{opNop, "NOP", release{5, 1}, opCost},
	{opReadv, "READV", release{5, 1}, opCost},
	{opWritev, "WRITEV", release{5, 1}, opCost},
	{opFsync, "FSYNC", release{5, 1}, opCost},
	{opReadFixed, "READ_FIXED", release{5, 1}, "Memory that is registered cannot be used as such."},
	{opWriteFixed, "WRITE_FIXED", release{5, 1}, "Memory that is registered cannot be used as such."},
	{opPollAdd, "POLL_ADD", release{5, 1}, opCost},
	{opPollRemove, "POLL_REMOVE", release{5, 1}, opCost},
	{opTimeout, "TIMEOUT", release{5, 4}, opCost},
	{opTimeoutRemove, "TIMEOUT_REMOVE", release{5, 5}, opCost},
	{opAsyncCancel, "ASYNC_CANCEL", release{5, 5}, opCost},
	{opFallocate, "FALLOCATE", release{5, 6}, opCost},
	{opRead, "READ", release{5, 6}, opCost},
	{opWrite, "WRITE", release{5, 6}, opCost},
	{opMsgRing, "MSG_RING", release{5, 18}, "Workers wake each other through eventfds."},
	{opUringCmd, "URING_CMD", release{5, 19}, "Discards on block devices go through fallocate."},
}

// Probe finds out what io_uring can do here, with a small ring that it closes again. When io_uring is not to be had the
// error is an *UnsupportedError, and Capabilities still has the kernel and its limits, with nothing present.
func Probe() (Capabilities, error) { return probe(host()) }

func probe(k kernel) (Capabilities, error) {
	limits, err := probeLimits(k)
	c := Capabilities{Kernel: k.release, Limits: limits}
	var have Feature
	ops := new(opProbe)
	if err == nil {
		have, err = probeRing(k, ops)
	}
	for i := range featureTable {
		t := &featureTable[i]
		c.Features = append(c.Features, Capability{t.name, have.Has(t.feature), t.since.String(), t.cost})
	}
	for i := range opTable {
		t := &opTable[i]
		c.Ops = append(c.Ops, Capability{t.name, ops.has(t.op), t.since.String(), t.cost})
	}
	return c, err
}

// probeRing asks a ring.
func probeRing(k kernel, ops *opProbe) (Feature, error) {
	r, err := newRing(k, Options{Entries: 1})
	if err != nil {
		return 0, err
	}
	errno := registerProbeOps(r.FD(), ops)
	if err := r.Close(); err != nil {
		return 0, err
	}
	return r.Features(), registerError("probe io_uring's operations", errno)
}

func probeLimits(k kernel) (Limits, error) {
	l := Limits{
		IOURingDisabled: k.sysctl("io_uring_disabled"), IOURingGroup: k.sysctl("io_uring_group"),
		Entries: MaxEntries, CQEntries: MaxCQEntries, Iovecs: MaxIovecs, Transfer: MaxTransfer,
	}
	var memlock, files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &memlock); err != nil {
		return l, errors.Wrap(err, "read RLIMIT_MEMLOCK")
	}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return l, errors.Wrap(err, "read RLIMIT_NOFILE")
	}
	l.Memlock, l.OpenFiles = memlock.Cur, files.Cur
	return l, nil
}
