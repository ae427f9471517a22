// Package fusedisk is a disk whose power can be cut, and the proofs of durability that the real program gives on it.
//
// A Disk is a file of a FUSE file system that this process serves: it can be opened with O_DIRECT and by io_uring like any
// image. Behind it is a disk with a volatile write cache (cache.go): written sectors become stable by an fsync that was
// asked for after they had arrived, and until then a Cut may lose any of them. Disk counts what arrives, delays fsyncs or
// holds one until it is released. To mount it needs root and /dev/fuse; without them the tests fail and say so.
//
// The kernel takes part. It locks the file for as long as an fsync takes, so that other writes to it wait: who wants to
// see writes beside a flush that hangs puts a loop device on top (isolation_test.go). A write with O_DSYNC or RWF_DSYNC
// arrives as a write that is marked, and an fsync that follows.
//
// A Disk's methods may be called by any goroutine. This process must not open the file by itself with package os: its
// poller would ask the file system that the same poller serves.
//
// Read next: cache.go, disk.go, then mount.go and serve.go.
package fusedisk
