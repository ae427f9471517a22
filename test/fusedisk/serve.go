package fusedisk

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The nodes of the file system.
const (
	rootNode = fuse.FUSE_ROOT_ID
	fileNode = rootNode + 1

	fileName = "disk"
)

// files is the file system as the kernel sees it. What is not answered here is answered ENOSYS, after which the kernel
// does not ask again: Fsync must not be among that, whatever it returns.
type files struct {
	fuse.RawFileSystem
	disk *Disk
}

func (f *files) String() string { return "fusedisk" }

// Lookup finds the one file.
func (f *files) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if h.NodeId != rootNode || name != fileName {
		return fuse.ENOENT
	}
	out.NodeId = fileNode
	f.attr(fileNode, &out.Attr)
	return fuse.OK
}

// GetAttr tells the file's size.
func (f *files) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.attr(in.NodeId, &out.Attr)
	return fuse.OK
}

func (f *files) attr(node uint64, a *fuse.Attr) {
	a.Ino, a.Nlink, a.Blksize = node, 1, 4096
	if node == rootNode {
		a.Mode = unix.S_IFDIR | 0o755
		return
	}
	a.Mode = unix.S_IFREG | 0o644
	a.Size = uint64(f.disk.size)
	a.Blocks = a.Size / SectorSize
}

// Open lets a loop device's writes go side by side; a process that opens the file with O_DIRECT has its own way.
func (f *files) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.Flags&unix.O_DIRECT == 0 {
		out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES
	}
	return fuse.OK
}

// Read reads.
func (f *files) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n, ok := f.disk.readAt(buf, in.Offset)
	if !ok {
		return nil, fuse.EIO
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write writes.
func (f *files) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if !f.disk.writeAt(data, in.Offset, in.Flags&unix.O_DSYNC != 0) {
		return 0, fuse.EIO
	}
	return uint32(len(data)), fuse.OK
}

// Fsync is all that makes anything stable.
func (f *files) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status {
	if !f.disk.sync() {
		return fuse.EIO
	}
	return fuse.OK
}

// StatFs has nothing to tell.
func (f *files) StatFs(<-chan struct{}, *fuse.InHeader, *fuse.StatfsOut) fuse.Status { return fuse.OK }

// Release has nothing to do.
func (f *files) Release(<-chan struct{}, *fuse.ReleaseIn) {}
