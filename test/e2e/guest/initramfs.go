package guest

import (
	_ "embed"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pkg/errors"
)

//go:embed init.sh
var initScript []byte

//go:embed agent.sh
var agentScript []byte

// baseModules is what every guest needs; ext4 is part of Debian's cloud kernel itself.
var baseModules = []string{"virtio_pci", "virtio_console", "virtio_blk"}

// Contents says what a guest's initramfs or root file system holds beside busybox and the agent.
type Contents struct {
	Modules []string          // kernel modules to load at boot, beside the base ones
	Tools   []string          // host programs, found in PATH, copied to /tools with their shared libraries
	Static  []string          // files of static programs, copied to /tools
	Host    []string          // files of the host, copied to where they are, with their shared libraries
	Files   map[string]string // path in the guest -> contents
}

// sink is where a tree of files goes: a cpio archive or a directory for mke2fs -d.
type sink interface {
	dir(name string)
	file(name string, perm int, data []byte)
	symlink(name, target string)
	close() error
}

// Initramfs writes the archive that boots a guest.
func Initramfs(k *Kernel, path string, c Contents) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return errors.Wrap(err, "initramfs")
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	a := newArchive(f)
	if err := addModules(a, k, slices.Concat(baseModules, c.Modules)); err != nil {
		return err
	}
	return populate(a, c)
}

// RootTree fills dir with a root file system whose init is the agent: for mke2fs -d.
func RootTree(dir string, c Contents) error {
	return populate(&tree{top: dir}, c)
}

func addModules(s sink, k *Kernel, names []string) error {
	paths, err := k.LoadOrder(names...)
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return errors.Wrap(err, "module")
		}
		s.file("/modules/"+filepath.Base(path), 0o644, data)
		list.WriteString(filepath.Base(path) + "\n")
	}
	s.file("/modules/order", 0o644, []byte(list.String()))
	return nil
}

func populate(s sink, c Contents) error {
	for _, d := range []string{"dev", "proc", "sys", "tmp", "mnt", "root", "newroot"} {
		s.dir(d)
	}
	s.file("/init", 0o755, initScript)
	s.file("/agent", 0o755, agentScript)
	s.file("/etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	s.file("/etc/mtab", 0o644, nil)
	if err := addBusybox(s); err != nil {
		return err
	}
	if err := addTools(s, c.Tools); err != nil {
		return err
	}
	for _, path := range c.Static {
		data, err := os.ReadFile(path)
		if err != nil {
			return errors.Wrap(err, "guest's program")
		}
		s.file("/tools/"+filepath.Base(path), 0o755, data)
	}
	for _, path := range c.Host {
		if err := addHost(s, path); err != nil {
			return err
		}
	}
	for name, data := range c.Files {
		s.file(name, 0o644, []byte(data))
	}
	return errors.Wrap(s.close(), "guest's files")
}

func addBusybox(s sink) error {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return errors.Wrap(err, "busybox: run .ci/setup")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return errors.Wrap(err, "busybox")
	}
	list, err := exec.Command(path, "--list").Output()
	if err != nil {
		return errors.Wrap(err, "busybox --list")
	}
	s.file("/bin/busybox", 0o755, data)
	for name := range strings.FieldsSeq(string(list)) {
		s.symlink("/bin/"+name, "busybox")
	}
	return nil
}

func addTools(s sink, tools []string) error {
	for _, tool := range tools {
		path, err := lookTool(tool)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return errors.Wrap(err, tool)
		}
		s.file("/tools/"+tool, 0o755, data)
		if err := addLibraries(s, path); err != nil {
			return err
		}
	}
	return nil
}

func addLibraries(s sink, program string) error {
	libs, err := libraries(program)
	if err != nil {
		return err
	}
	for _, lib := range libs {
		data, err := os.ReadFile(lib)
		if err != nil {
			return errors.Wrap(err, program)
		}
		s.file(lib, 0o755, data)
	}
	return nil
}

// addHost copies a file of the host; a symbolic link becomes what it leads to.
func addHost(s sink, path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return errors.Wrap(err, "the host's file: run .ci/setup")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return errors.Wrap(err, "the host's file")
	}
	s.file(path, int(fi.Mode().Perm()), data)
	if fi.Mode()&0o111 == 0 {
		return nil
	}
	return addLibraries(s, path)
}

// lookTool also looks where Debian keeps an administrator's programs: users do not have these directories in PATH.
func lookTool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", errors.Errorf("%s is not installed: run .ci/setup", name)
}

// libraries lists the shared libraries of a program, its loader included, as ldd(1) finds them.
func libraries(path string) ([]string, error) {
	out, err := exec.Command("ldd", path).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "not a dynamic executable") {
			return nil, nil
		}
		return nil, errors.Wrapf(err, "ldd %s: %s", path, out)
	}
	var libs []string
	for line := range strings.Lines(string(out)) {
		for word := range strings.FieldsSeq(line) {
			if strings.HasPrefix(word, "/") {
				libs = append(libs, word)
				break
			}
		}
	}
	return libs, nil
}

// tree is a sink that writes below a directory; the first error sticks.
type tree struct {
	top string
	err error
}

func (t *tree) keep(err error) {
	if t.err == nil && !errors.Is(err, fs.ErrExist) {
		t.err = err
	}
}

func (t *tree) dir(name string) { t.keep(os.MkdirAll(filepath.Join(t.top, name), 0o755)) }

func (t *tree) file(name string, perm int, data []byte) {
	t.dir(filepath.Dir(name))
	t.keep(os.WriteFile(filepath.Join(t.top, name), data, fs.FileMode(perm)))
}

func (t *tree) symlink(name, target string) {
	t.dir(filepath.Dir(name))
	t.keep(os.Symlink(target, filepath.Join(t.top, name)))
}

func (t *tree) close() error { return t.err }
