package guest

import (
	"debug/elf"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pkg/errors"
)

// Kernel is a Debian kernel package that .ci/setup unpacked.
type Kernel struct {
	Image   string // bzImage
	modules map[string]string
}

// RepoRoot finds the directory of go.mod at or above the working directory.
func RepoRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", errors.Wrap(err, "working directory")
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod at or above the working directory")
		}
		dir = up
	}
}

// FindKernel opens what .ci/setup left in build/guest/kernel.
func FindKernel(repo string) (*Kernel, error) {
	top := filepath.Join(repo, "build", "guest", "kernel")
	images, err := filepath.Glob(filepath.Join(top, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return nil, errors.Errorf("%d kernels in %s, want 1: run .ci/setup", len(images), top)
	}
	k := &Kernel{Image: images[0], modules: map[string]string{}}
	err = filepath.WalkDir(filepath.Join(top, "lib", "modules"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".ko" {
			k.modules[moduleName(strings.TrimSuffix(filepath.Base(path), ".ko"))] = path
		}
		return err
	})
	return k, errors.Wrap(err, "looking for modules")
}

// moduleName maps file names to the names that modules use for each other.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// LoadOrder returns the files of the named modules and of what they depend on, dependencies first. The dependencies are
// read from the modules themselves: the package brings no modules.dep, depmod would write it at installation.
func (k *Kernel) LoadOrder(names ...string) ([]string, error) {
	var order []string
	done := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		name = moduleName(name)
		if done[name] {
			return nil
		}
		done[name] = true
		path, ok := k.modules[name]
		if !ok {
			return errors.Errorf("the kernel package has no module %s", name)
		}
		deps, err := moduleDepends(path)
		if err != nil {
			return errors.Wrapf(err, "module %s", name)
		}
		for _, dep := range deps {
			if err := visit(dep); err != nil {
				return err
			}
		}
		order = append(order, path)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// moduleDepends reads "depends=a,b" from a module's .modinfo section, a list of NUL-terminated key=value strings.
func moduleDepends(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for line := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(line, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
