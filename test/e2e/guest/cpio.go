package guest

import (
	"bufio"
	"fmt"
	"io"
	"path"
)

// File types of a cpio entry's mode, as in stat(2).
const (
	cpioDir     = 0o040000
	cpioFile    = 0o100000
	cpioSymlink = 0o120000
)

// archive writes the cpio format "newc" (Linux: Documentation/driver-api/early-userspace/buffer-format.rst). The first
// error sticks and is returned by close. Parent directories are made as needed.
type archive struct {
	w     *bufio.Writer
	inode int
	size  int64
	known map[string]bool
	err   error
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriterSize(w, 1<<20), known: map[string]bool{"": true}}
}

func (a *archive) dir(name string) {
	name = clean(name)
	if a.known[name] {
		return
	}
	a.dir(path.Dir(name))
	a.entry(name, cpioDir|0o755, nil)
}

func (a *archive) file(name string, perm int, data []byte) {
	name = clean(name)
	if a.known[name] {
		return
	}
	a.dir(path.Dir(name))
	a.entry(name, cpioFile|perm, data)
}

func (a *archive) symlink(name, target string) {
	name = clean(name)
	if a.known[name] {
		return
	}
	a.dir(path.Dir(name))
	a.entry(name, cpioSymlink|0o777, []byte(target))
}

// clean gives the name inside the archive: relative, "" for the root.
func clean(name string) string { return path.Clean("/" + name)[1:] }

func (a *archive) entry(name string, mode int, data []byte) {
	a.known[name] = true
	a.inode++
	// magic, inode, mode, uid, gid, links, mtime, size, device and rdevice (major, minor each), name size, check sum.
	a.write(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name))
	a.pad()
	a.write(data)
	a.pad()
}

// pad aligns headers and contents to 4 bytes.
func (a *archive) pad() { a.write(make([]byte, -a.size&3)) }

func (a *archive) write(b []byte) {
	if a.err != nil {
		return
	}
	n, err := a.w.Write(b)
	a.size += int64(n)
	a.err = err
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil)
	if a.err != nil {
		return a.err
	}
	return a.w.Flush()
}
