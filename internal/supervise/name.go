package supervise

import (
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// name is the file by which a socket is found that a worker has had kept. A worker that ends in order removes it; for one that
// does not the supervisor does, so that nobody finds a socket behind which there will never be anyone.
type name struct {
	path string
	file fs.FileInfo // nil: it had none that could be looked at
}

// nameOf is the name of a socket that listens, nil: f is none.
func nameOf(f *sys.FD) *name {
	listens, err := unix.GetsockoptInt(f.Int(), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil || listens == 0 {
		return nil
	}
	n := &name{}
	address, err := unix.Getsockname(f.Int())
	if u, ok := address.(*unix.SockaddrUnix); err == nil && ok && u.Name != "" && !strings.HasPrefix(u.Name, "@") {
		n.path = u.Name // relative, if need be, to the directory that we have in common with the worker
		if info, err := os.Lstat(n.path); err == nil {
			n.file = info
		}
	}
	return n
}

// remove removes the file, unless another socket has the name by now. The inode is not used again as long as the socket is
// open, and as long as it listens no vublk puts another one in its place.
func (n *name) remove() error {
	if n.file == nil {
		return nil
	}
	if info, err := os.Lstat(n.path); err != nil || !os.SameFile(info, n.file) {
		return nil
	}
	return os.Remove(n.path)
}
