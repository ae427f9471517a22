package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// machine is what figures depend on.
type machine struct {
	cpu, kernel, vublk, qemu string
}

func describeMachine(vublk string) (machine, error) {
	m := machine{cpu: cpuModel()}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return m, errors.Wrap(err, "uname")
	}
	m.kernel = unix.ByteSliceToString(u.Release[:])
	var err error
	if m.vublk, err = firstLine(vublk, "version"); err != nil {
		return m, err
	}
	m.qemu, err = firstLine("qemu-storage-daemon", "--version")
	if err != nil {
		err = errors.Wrap(err, "is Debian's package qemu-utils installed?")
	}
	return m, err
}

// cpuModel is the name of the first CPU; arm64's /proc/cpuinfo has none.
func cpuModel() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte("model name")); ok {
			return string(bytes.Trim(rest, "\t\n: "))
		}
	}
	return runtime.GOARCH
}

func firstLine(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "", errors.Wrapf(err, "%s %v", name, args)
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	return string(line), nil
}

func (m machine) print(o options) {
	fmt.Printf("CPU     %d x %s; back-ends on CPU %d, driver on CPU %d\n", runtime.NumCPU(), m.cpu, o.backendCPU, o.driverCPU)
	fmt.Printf("Linux   %s\n", m.kernel)
	fmt.Printf("Go      %s\n", runtime.Version())
	fmt.Printf("vublk   %s\n", m.vublk)
	fmt.Printf("peer    %s\n", m.qemu)
	fmt.Printf("method  %d runs each of %v, alternating, after %v of warm-up; medians\n\n", o.runs, o.duration, o.warmup)
}
