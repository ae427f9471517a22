package guestmem

import (
	"strings"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

func TestMapRefuses(t *testing.T) {
	fd, err := sys.Memfd("short", 4*page)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fd.Close() }()
	const top = ^uint64(0)
	for _, tc := range []struct {
		name string
		fd   int
		info RegionInfo
	}{
		{"size 0", fd.Int(), RegionInfo{}},
		{"gpa wraps around", fd.Int(), RegionInfo{GPA: GPA(top - 10), Size: page}},
		{"user address wraps around", fd.Int(), RegionInfo{UserAddr: FrontendVA(top - 10), Size: page}},
		{"longer than the file", fd.Int(), RegionInfo{Size: 4*page + 1}},
		{"offset and size longer than the file", fd.Int(), RegionInfo{Size: page, Offset: 3*page + 1}},
		{"offset plus size wraps around", fd.Int(), RegionInfo{Size: 2 * page, Offset: top - page + 1}},
		{"size that no address space holds", fd.Int(), RegionInfo{Size: 1 << 63}},
		{"no descriptor", -1, RegionInfo{Size: page}},
		{"a pipe", pipeEnd(t), RegionInfo{Size: page}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if r, err := Map(tc.fd, tc.info); err == nil {
				r.Close()
				t.Fatal("mapped")
			} else {
				t.Log(err)
			}
		})
	}
}

func TestMapRefusesReadOnlyFile(t *testing.T) {
	fd, err := sys.Memfd("sealed", page)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fd.Close() }()
	if _, err := unix.FcntlInt(uintptr(fd.Int()), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != nil {
		t.Fatal(err)
	}
	if _, err := Map(fd.Int(), RegionInfo{Size: page}); !errors.Is(err, unix.EPERM) {
		t.Fatalf("mapping a write-sealed memfd: %v; want EPERM", err)
	}
}

// The file systems' numbers are those of statfs(2).
func TestMapRefusesFilesThatMayHang(t *testing.T) {
	fd, err := sys.Memfd("remote", page)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fd.Close() }()
	defer func() { fstatfs = unix.Fstatfs }()
	for magic, name := range map[uint32]string{
		0x65735546: "FUSE", 0x6969: "NFS", 0xff534d42: "CIFS", 0xfe534d42: "SMB", 0x01021997: "9p", 0x00c36400: "Ceph",
		unix.TMPFS_MAGIC: "", unix.EXT4_SUPER_MAGIC: "", unix.XFS_SUPER_MAGIC: "",
	} {
		fstatfs = func(fd int, st *unix.Statfs_t) error {
			err := unix.Fstatfs(fd, st)
			st.Type = int64(magic)
			return err
		}
		r, err := Map(fd.Int(), RegionInfo{Size: page})
		switch {
		case err == nil:
			r.Close()
			if name != "" {
				t.Errorf("mapped a file on %s", name)
			}
		case name == "" || !strings.Contains(err.Error(), name):
			t.Errorf("file system %#x %s: %v", magic, name, err)
		}
	}
}

func TestSealed(t *testing.T) {
	r, fd := newRegion(t, RegionInfo{Size: page})
	if r.Sealed() {
		t.Fatal("a fresh memfd is not sealed")
	}
	if _, err := unix.FcntlInt(uintptr(fd.Int()), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK); err != nil {
		t.Fatal(err)
	}
	again, err := Map(fd.Int(), RegionInfo{Size: page})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if !again.Sealed() {
		t.Fatal("the seal was not seen")
	}
}

func TestMapAtAnyOffset(t *testing.T) {
	for _, offset := range []uint64{0, page, 3 * page, 512, page + 16} {
		info := RegionInfo{GPA: 1 << 32, Size: 2 * page, UserAddr: 7 << 20, Offset: offset}
		r, fd := newRegion(t, info)
		if r.Info() != info {
			t.Fatalf("Info = %+v; want %+v", r.Info(), info)
		}
		if _, err := unix.Pwrite(fd.Int(), []byte("first"), int64(offset)); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Pwrite(fd.Int(), []byte("last"), int64(offset+info.Size-4)); err != nil {
			t.Fatal(err)
		}
		var b [9]byte
		CopyIn(b[:], []Iovec{{r.host, 5}, {r.host + info.Size - 4, 4}})
		if string(b[:]) != "firstlast" {
			t.Fatalf("offset %#x: %q", offset, b)
		}
	}
}

// TestMapHugetlbfs needs no huge page: without one touching the memory is a fault, which the guard reports.
func TestMapHugetlbfs(t *testing.T) {
	n, err := unix.MemfdCreate("huge", unix.MFD_CLOEXEC|unix.MFD_HUGETLB)
	if err != nil {
		t.Fatal(err)
	}
	fd := sys.NewFD(n)
	defer func() { _ = fd.Close() }()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(n, &fs); err != nil || fs.Bsize <= page {
		t.Fatalf("huge page size %d (%v)", fs.Bsize, err)
	}
	if err := unix.Ftruncate(n, 4*fs.Bsize); err != nil {
		t.Fatal(err)
	}
	// The region begins in the middle of a huge page and ends in the middle of the next one.
	r, err := Map(n, RegionInfo{Size: uint64(fs.Bsize), Offset: uint64(fs.Bsize) + page})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if lead := r.host - r.base; lead != page || r.size != 2*uint64(fs.Bsize) {
		t.Fatalf("mapping of %#x bytes, region at %#x; want two huge pages and %#x", r.size, lead, page)
	}
	err = guarded(func() { CopyOut([]Iovec{{r.host, 1}}, []byte{1}) })
	var fault *FaultError
	if err != nil && !errors.As(err, &fault) {
		t.Fatal(err)
	}
}

func TestRegionLivesAsLongAsItsTables(t *testing.T) {
	r, _ := newRegion(t, RegionInfo{Size: page})
	a, err := NewTable(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewTable(r)
	if err != nil {
		t.Fatal(err)
	}
	b.Retain()
	r.Close()
	r.Close() // idempotent: b's reference is not ours to drop
	for i, release := range []func(){a.Release, b.Release} {
		release()
		if !live.contains(r.host) {
			t.Fatalf("unmapped after %d of 3 releases", i+1)
		}
	}
	b.Release()
	if live.contains(r.host) {
		t.Fatal("still mapped after the last release")
	}
	if _, err := NewTable(r); err == nil {
		t.Fatal("a table of a closed region")
	}
	for name, misuse := range map[string]func(){"release": b.Release, "retain": a.Retain} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s after the last release went unnoticed", name)
				}
			}()
			misuse()
		}()
	}
}
