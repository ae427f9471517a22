package guest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/pkg/errors"
)

// pageSize is the unit in which QEMU sends memory.
const pageSize = 4096

// ComparePages shows every page of a guest that has migrated, as it was at the source and as it has arrived, and makes the
// arrived one like the other where mend says so. Neither guest may run.
func ComparePages(source, arrived *Guest, mend func(source, arrived []byte) bool) error {
	from, err := source.memory()
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := arrived.memory()
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }()
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := 0; ; at += len(a) {
		n, err := io.ReadFull(from, a)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return errors.Wrap(err, "memory of the source")
		}
		if _, err := io.ReadFull(to, b); err != nil {
			return errors.Wrap(err, "memory of the destination")
		}
		for page := 0; page < n; page += pageSize {
			was := a[page : page+pageSize]
			if !mend(was, b[page:page+pageSize]) {
				continue
			}
			if _, err := to.WriteAt(was, int64(at+page)); err != nil {
				return errors.Wrap(err, "memory of the destination")
			}
		}
	}
}

// memory opens the file that is the guest's memory.
func (g *Guest) memory() (*os.File, error) {
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", g.PID()))
	if err != nil {
		return nil, errors.Wrap(err, "files of QEMU")
	}
	for _, fd := range fds {
		if name, err := os.Readlink(fd); err == nil && strings.HasPrefix(name, "/memfd:memory-backend-memfd") {
			f, err := os.OpenFile(fd, os.O_RDWR, 0)
			return f, errors.Wrap(err, "memory of a guest")
		}
	}
	return nil, errors.Errorf("QEMU has no memory-backend-memfd among its %d files", len(fds))
}
