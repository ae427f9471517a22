package main

import (
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/duel"
)

// site is where it all happens.
type site struct {
	options

	probe *duel.Probe // of all contests

	disk    string // a directory of ours on a disk
	memory  string // one on a tmpfs; "" when there is none
	noTmpfs error  // why
	mounted bool   // memory is a tmpfs that we have mounted
}

func newSite(o options) (*site, error) {
	s := &site{options: o, probe: &duel.Probe{BackendCPU: o.backendCPU, DriverCPU: o.driverCPU}}
	var err error
	if s.vublk, err = exec.LookPath(o.vublk); err != nil && !o.dry {
		return nil, errors.Wrap(err, "no vublk to measure, run make build")
	}
	if s.disk, err = os.MkdirTemp(o.dir, "vublk-bench-"); err != nil {
		return nil, errors.Wrap(err, "-dir")
	}
	if s.disk, err = filepath.Abs(s.disk); err != nil {
		return nil, err
	}
	if s.memory, err = s.findTmpfs(o.tmpfs); err != nil {
		s.noTmpfs = err
	}
	return s, nil
}

// findTmpfs makes a directory on a tmpfs: where the caller says, or in /dev/shm, or on one that is mounted for it.
func (s *site) findTmpfs(where string) (string, error) {
	parent := where
	if parent == "" {
		parent = "/dev/shm"
	}
	if kind, _ := fileSystem(parent); kind == "tmpfs" {
		return os.MkdirTemp(parent, "vublk-bench-")
	}
	if where != "" {
		return "", errors.Errorf("%s is not on a tmpfs", where)
	}
	at := filepath.Join(s.disk, "tmpfs")
	if err := os.Mkdir(at, 0o700); err != nil {
		return "", err
	}
	if err := unix.Mount("vublk-bench", at, "tmpfs", 0, "size=4g"); err != nil {
		return "", errors.Wrap(err, "no tmpfs in /dev/shm, and none can be mounted")
	}
	s.mounted = true
	return at, nil
}

func (s *site) close() error {
	var err error
	switch {
	case s.mounted:
		err = errors.Wrap(unix.Unmount(s.memory, 0), "unmount the tmpfs")
	case s.memory != "":
		err = os.RemoveAll(s.memory)
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(s.disk)
}

// anonymous takes out of a text what is of this machine only.
func (s *site) anonymous(text string) string {
	pairs := []string{}
	if s.memory != "" {
		pairs = append(pairs, s.memory, "$TMPFS")
	}
	pairs = append(pairs, s.disk, "$DIR")
	for program, name := range map[string]string{s.vublk: vublk, s.qemu: qemu, s.fio: fio} {
		if filepath.IsAbs(program) {
			pairs = append(pairs, program, name)
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// load is what all contests have in common.
func (s *site) load(depth int) bench.Config {
	return bench.Config{
		Queues: 1, Depth: depth, BlockSize: 4096, Batch: 8, CPUs: []int{s.driverCPU}, Seed: 1,
		Duration: 250 * time.Millisecond, Warmup: 50 * time.Millisecond,
	}
}

// fileSystem names what path is on.
func fileSystem(path string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return "", errors.Wrap(err, path)
	}
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.TMPFS_MAGIC: "tmpfs", unix.XFS_SUPER_MAGIC: "XFS", unix.BTRFS_SUPER_MAGIC: "Btrfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	}
	if name := names[int64(st.Type)]; name != "" { //nolint:unconvert // the field's type differs between architectures
		return name, nil
	}
	return "an unknown file system", nil
}

// sparse makes a file of holes.
func sparse(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return f.Truncate(size)
}

// full makes a file whose blocks were all written, with what no storage below us can make small.
func full(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{1}), size); err != nil {
		return err
	}
	return f.Sync()
}
