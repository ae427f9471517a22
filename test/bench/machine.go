package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// machine is what figures depend on.
type machine struct {
	lines [][2]string
	qemu  string
}

func describeMachine(s *site) (machine, error) {
	var m machine
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return m, errors.Wrap(err, "uname")
	}
	version, err := firstLine(s.vublk, "version")
	if err != nil {
		return m, err
	}
	if m.qemu, err = firstLine(s.qemu, "--version"); err != nil {
		return m, errors.Wrap(err, "is Debian's package qemu-utils installed?")
	}
	engine, err := firstLine(s.fio, "--version")
	if err != nil {
		return m, errors.Wrap(err, "is the package fio installed?")
	}
	disk, err := fileSystem(s.disk)
	if err != nil {
		return m, err
	}
	tmpfs := "$TMPFS is a tmpfs"
	if s.noTmpfs != nil {
		tmpfs = "no tmpfs: " + s.noTmpfs.Error()
	}
	m.lines = [][2]string{
		{"CPU", fmt.Sprintf("%d × %s%s", runtime.NumCPU(), cpuInfo("model name"), hypervisor())},
		{"pinning", fmt.Sprintf("back-ends and fio on CPU %d, driver on CPU %d", s.backendCPU, s.driverCPU)},
		{"Linux", unix.ByteSliceToString(u.Release[:])},
		{"Go", runtime.Version()},
		{"vublk", version},
		{"peer", m.qemu},
		{"fio", engine},
		{"files", "$DIR is on " + disk + ", " + tmpfs},
	}
	return m, nil
}

// peer is the version of the peer, under which ratios are recorded: fixes do not change how fast it is.
func (m machine) peer() string {
	if v := regexp.MustCompile(`\d+\.\d+`).FindString(m.qemu); v != "" {
		return "qemu-storage-daemon " + v
	}
	return m.qemu
}

// cpuInfo is a field of the first CPU; arm64's /proc/cpuinfo has no name.
func cpuInfo(field string) string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte(field)); ok {
			return string(bytes.Trim(rest, "\t\n: "))
		}
	}
	return runtime.GOARCH
}

func hypervisor() string {
	if bytes.Contains([]byte(cpuInfo("flags")), []byte("hypervisor")) {
		return ", virtual"
	}
	return ""
}

func firstLine(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "", errors.Wrapf(err, "%s %v", name, args)
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	return string(line), nil
}

func (m machine) write(w io.Writer) {
	t := table{head: []string{"", ""}}
	for _, l := range m.lines {
		t.row(l[0], l[1])
	}
	t.write(w)
}
