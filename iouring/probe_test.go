package iouring

import (
	"os"
	"strings"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

func TestProbe(t *testing.T) {
	c, err := Probe()
	must(t, err)
	if c.Kernel == "" || c.Limits.OpenFiles == 0 || c.Limits.Iovecs != 1024 {
		t.Errorf("%+v", c)
	}
	r, err := New(Options{Entries: 1})
	must(t, err)
	defer func() { must(t, r.Close()) }()
	for i, f := range c.Features {
		if f.Present != r.Features().Has(featureTable[i].feature) {
			t.Errorf("%s: present %v, a ring has %v", f.Name, f.Present, r.Features())
		}
	}
	for _, list := range [][]Capability{c.Features, c.Ops} {
		for _, f := range list {
			if f.Name == "" || !strings.Contains(f.Since, ".") || !strings.HasSuffix(f.Cost, ".") {
				t.Errorf("incomplete: %+v", f)
			}
			if !f.Present && (kernel{release: c.Kernel}).atLeast(known) {
				t.Errorf("%s is from %s and not on %s", f.Name, f.Since, c.Kernel)
			}
		}
	}
}

// known is the release from which on these tests know what to expect.
var known = release{6, 12}

// forbidding is a host whose kernel answers errno to io_uring_setup and has these sysctls.
func forbidding(errno unix.Errno, disabled, group string) kernel {
	return kernel{
		release: "5.4.0-test",
		setup:   func(uint32, *setupParams) (int, unix.Errno) { return -1, errno },
		readFile: func(path string) ([]byte, error) {
			text := map[string]string{
				"/proc/sys/kernel/io_uring_disabled": disabled, "/proc/sys/kernel/io_uring_group": group,
			}[path]
			if text == "" {
				return nil, os.ErrNotExist
			}
			return []byte(text), nil
		},
	}
}

func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		name            string
		errno           unix.Errno
		disabled, group string
		want            []string // in the text: what is wrong, and the way out
	}{
		{"for all", unix.EPERM, "2\n", "-1\n", []string{"administrator", "kernel.io_uring_disabled to 0"}},
		{"but a group", unix.EPERM, "1\n", "977\n", []string{"group 977", "CAP_SYS_ADMIN", "add this process"}},
		{"by a filter", unix.EPERM, "0\n", "-1\n", []string{"seccomp", "io_uring_enter", "container"}},
		{"by a filter, old kernel", unix.EPERM, "", "", []string{"seccomp"}},
		{"odd sysctl", unix.EPERM, "what\n", "", []string{"seccomp"}},
		{"by a policy", unix.EACCES, "0\n", "-1\n", []string{"policy", "SELinux"}},
		{"no such call", unix.ENOSYS, "", "", []string{"CONFIG_IO_URING", "seccomp", "5.15", "5.4.0-test"}},
		{"old kernel", unix.EINVAL, "", "", []string{"too old", "5.15", "5.4.0-test"}},
	} {
		k := forbidding(c.errno, c.disabled, c.group)
		_, ringErr := newRing(k, Options{Entries: 4})
		caps, err := probe(k)
		for _, err := range []error{ringErr, err} {
			var u *UnsupportedError
			if !errors.As(err, &u) || u.Feature != "io_uring" || u.Needs != "5.15" || !errors.Is(err, c.errno) {
				t.Errorf("%s: %#v", c.name, err)
				continue
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %q does not mention %q", c.name, err, want)
				}
			}
		}
		if caps.Kernel != "5.4.0-test" || len(caps.Features) != len(featureTable) || len(caps.Ops) != len(opTable) {
			t.Errorf("%s: %+v", c.name, caps)
		}
		for _, f := range append(caps.Features, caps.Ops...) {
			if f.Present {
				t.Errorf("%s: %s is present", c.name, f.Name)
			}
		}
	}
}

func TestSetupErrorsThatAreNotForbidding(t *testing.T) {
	for errno, want := range map[unix.Errno]string{
		unix.ENOMEM: "RLIMIT_MEMLOCK", unix.EMFILE: "RLIMIT_NOFILE", unix.ENFILE: "RLIMIT_NOFILE", unix.EFAULT: "set up",
	} {
		_, err := newRing(forbidding(errno, "0", "-1"), Options{Entries: 4})
		var u *UnsupportedError
		if !errors.Is(err, errno) || errors.As(err, &u) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

// A ring that lacks what the package is built on is closed and refused.
func TestBelowTheFloor(t *testing.T) {
	k := host()
	k.setup = func(entries uint32, p *setupParams) (int, unix.Errno) {
		fd, errno := setup(entries, p)
		p.features &^= featRsrcTags
		return fd, errno
	}
	var u *UnsupportedError
	if _, err := newRing(k, Options{Entries: 4}); !errors.As(err, &u) || !strings.Contains(u.Reason, "too old") {
		t.Fatalf("%v", err)
	}
}

func TestLimits(t *testing.T) {
	l, err := probeLimits(forbidding(0, "1\n", "977\n"))
	if err != nil || l.IOURingDisabled != 1 || l.IOURingGroup != 977 {
		t.Errorf("%+v, %v", l, err)
	}
	l, err = probeLimits(forbidding(0, "", ""))
	if err != nil || l.IOURingDisabled != -1 || l.IOURingGroup != -1 {
		t.Errorf("%+v, %v", l, err)
	}
}
