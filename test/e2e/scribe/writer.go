package scribe

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// Report is what a run has come to.
type Report struct {
	Records, Syncs int64
	Longest        time.Duration // of one fsync
}

// run is what the writers share.
type run struct {
	dir                     string
	records, syncs, longest atomic.Int64
	failed                  atomic.Bool
}

// Run has so many writers work in dir, until stop returns true or one of them fails. progress is told now and then how many
// records there are.
func Run(dir string, writers int, stop func() bool, progress func(records int64)) (Report, error) {
	r := &run{dir: dir}
	failed := make([]error, writers)
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for n := 0; !r.failed.Load() && !stop(); n++ {
				if failed[w] = r.write(record{w, n}); failed[w] != nil {
					r.failed.Store(true)
					return
				}
				progress(r.records.Add(1))
			}
		})
	}
	wait.Wait()
	report := Report{r.records.Load(), r.syncs.Load(), time.Duration(r.longest.Load())}
	for _, err := range failed {
		if err != nil {
			return report, err
		}
	}
	return report, nil
}

// write makes a record, and reads it and an older one back.
func (r *run) write(next record) error {
	temporary := filepath.Join(r.dir, fmt.Sprintf("w%02d-new", next.writer))
	if err := r.file(temporary, next.content()); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(r.dir, next.name())); err != nil {
		return errors.WithStack(err)
	}
	d, err := os.Open(r.dir)
	if err != nil {
		return errors.WithStack(err)
	}
	defer func() { _ = d.Close() }()
	if err := r.sync(d); err != nil {
		return err
	}
	if err := r.file(filepath.Join(r.dir, notes(next.writer)), fmt.Appendf(nil, "%12d\n", next.number)); err != nil {
		return err
	}
	if err := r.read(next); err != nil {
		return err
	}
	return r.read(record{next.writer, max(0, next.number-rand.IntN(slots))})
}

// file writes a file and syncs it.
func (r *run) file(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return errors.WithStack(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Write(data); err != nil {
		return errors.WithStack(err)
	}
	if err := f.Truncate(int64(len(data))); err != nil {
		return errors.WithStack(err)
	}
	return r.sync(f)
}

func (r *run) sync(f *os.File) error {
	begun := time.Now()
	if err := f.Sync(); err != nil {
		return errors.WithStack(err)
	}
	r.syncs.Add(1)
	took := int64(time.Since(begun))
	for {
		longest := r.longest.Load()
		if took <= longest || r.longest.CompareAndSwap(longest, took) {
			return nil
		}
	}
}

// read reads a record from the disk: its pages are clean, so the kernel drops them.
func (r *run) read(old record) error {
	f, err := os.Open(filepath.Join(r.dir, old.name()))
	if err != nil {
		return errors.WithStack(err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return errors.Wrap(err, "drop what is cached of a record")
	}
	got, err := io.ReadAll(f)
	if err != nil {
		return errors.WithStack(err)
	}
	return old.check(got)
}
