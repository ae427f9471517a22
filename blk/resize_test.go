package blk_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// sizedDisk is a descriptor of a Disk whose size the test decides.
type sizedDisk struct {
	fdDisk
	bytes *atomic.Int64
}

func newSizedDisk(fd int, size int64) sizedDisk {
	d := sizedDisk{fdDisk: fdDisk{fd: fd}, bytes: new(atomic.Int64)}
	d.bytes.Store(size)
	return d
}

func (d sizedDisk) Info() blk.DiskInfo {
	info := d.fdDisk.Info()
	info.Size = d.bytes.Load()
	return info
}

// capacity is what the driver reads, in sectors.
func (r *rig) capacity() uint64 {
	var b [8]byte
	r.dev.ReadConfig(b[:], 0)
	return binary.LittleEndian.Uint64(b[:])
}

// resize has the device of an image take over what somebody made of it.
func (r *rig) resize(file *blk.FileDisk, force bool) error {
	r.t.Helper()
	if _, err := file.Measure(); err != nil {
		r.t.Fatal(err)
	}
	_, _, err := r.dev.Resize(force)
	return err
}

// borderCases are requests around the end of a disk of n sectors.
func borderCases(n uint64) []answerCase {
	return []answerCase{
		{"read the last sector", blk.RequestIn, n - 1, nil, 512, 513, 0},
		{"write the last sector", blk.RequestOut, n - 1, make([]byte, 512), 0, 1, 0},
		{"write the last unit", blk.RequestOut, n - 8, make([]byte, 4096), 0, 1, 0},
		{"write all but the last sector of it", blk.RequestOut, n - 8, make([]byte, 7*512), 0, 1, 0},
		{"zero the last sector", zeroes, 0, segment(n-1, 1, 0), 0, 1, 0},
		{"discard the last unit", discard, 0, segment(n-8, 8, 0), 0, 1, 0},
		{"read nothing at the end", blk.RequestIn, n, nil, 0, 1, 0},
		{"read at the end", blk.RequestIn, n, nil, 512, 1, 1},
		{"read past the end", blk.RequestIn, n - 1, nil, 1024, 1, 1},
		{"write at the end", blk.RequestOut, n, make([]byte, 512), 0, 1, 1},
		{"write past the end", blk.RequestOut, n - 1, make([]byte, 1024), 0, 1, 1},
		{"zero past the end", zeroes, 0, segment(n-1, 2, 0), 0, 1, 1},
		{"zero at the end", zeroes, 0, segment(n, 1, 0), 0, 1, 1},
		{"discard past the end", discard, 0, segment(n-8, 9, 0), 0, 1, 1},
	}
}

func (r *rig) answers(when string, cases []answerCase) {
	r.t.Helper()
	for _, c := range cases {
		if a := r.request(0, c.kind, c.sector, c.out, c.in); a.status != c.status || a.used != c.used {
			r.t.Errorf("%s: %s: status %d, used %d; want %d, %d", when, c.name, a.status, a.used, c.status, c.used)
		}
	}
}

// acrossBorder writes and reads back what lies on both sides of sector n, misaligned to any unit.
func (r *rig) acrossBorder(n uint64) {
	r.t.Helper()
	want := bytes.Repeat([]byte("border.."), 13*512/8)
	r.write(0, n-5, want)
	if !bytes.Equal(r.read(0, n-5, len(want)), want) {
		r.t.Error("what was written across the old end reads differently")
	}
	if a := r.request(0, zeroes, 0, segment(n-2, 5, 0), 0); a.status != 0 {
		r.t.Errorf("zeroes across the old end: status %d", a.status)
	}
	clear(want[3*512 : 8*512])
	if !bytes.Equal(r.read(0, n-5, len(want)), want) {
		r.t.Error("zeroes across the old end hit other sectors")
	}
}

// TestGrowingFile: until the device is told, nothing changes; then all up to the new end is there. Once on a file as it
// is, and once in units of 4096 bytes, so that sectors are read, modified and written under a range.
func TestGrowingFile(t *testing.T) {
	const before, after = 8 * mib / 512, 12 * mib / 512
	for ring, features := range map[string]virtio.Features{"split": splitRing, "packed": packedRing} {
		for name, wrap := range map[string]func(*blk.FileDisk) blk.Disk{
			"file":  func(f *blk.FileDisk) blk.Disk { return f },
			"units": func(f *blk.FileDisk) blk.Disk { return unitDisk{f, 4096, 512} },
		} {
			t.Run(name+"/"+ring, func(t *testing.T) {
				path := newFile(t, 8*mib)
				file := openFile(t, path, blk.FileOptions{})
				r := newRig(t, wrap(file), rigOptions{ring: features})
				r.answers("before", borderCases(before))
				if err := os.Truncate(path, 12*mib); err != nil {
					t.Fatal(err)
				}
				r.answers("not told", borderCases(before))
				if got := r.capacity(); got != before {
					t.Errorf("not told: capacity %d, want %d", got, before)
				}
				if err := r.resize(file, false); err != nil || file.Info().Size != 12*mib {
					t.Fatalf("%v, size %d", err, file.Info().Size)
				}
				var c [96]byte
				r.dev.ReadConfig(c[:], 0)
				if cylinders := binary.LittleEndian.Uint16(c[16:]); r.capacity() != after || cylinders != after/(16*63) {
					t.Errorf("capacity %d, %d cylinders", r.capacity(), cylinders)
				}
				r.answers("after", borderCases(after))
				r.acrossBorder(before)
				if err := r.resize(file, false); err != nil {
					t.Errorf("nothing to do: %v", err)
				}
			})
		}
	}
}

// TestGrowingBlockDevice: a device with sectors of 4096 bytes grows under a guest with sectors of 512.
func TestGrowingBlockDevice(t *testing.T) {
	const before, after = 8 * mib / 512, 12 * mib / 512
	device, path := loopDevice(t, 8*mib, "4096")
	file := openFile(t, device, blk.FileOptions{})
	r := newRig(t, file, rigOptions{})
	r.answers("before", borderCases(before))
	if err := os.Truncate(path, 12*mib); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("losetup", "--set-capacity", device).CombinedOutput(); err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	r.answers("not told", borderCases(before))
	if err := r.resize(file, false); err != nil || r.capacity() != after {
		t.Fatalf("%v, capacity %d", err, r.capacity())
	}
	r.answers("after", borderCases(after))
	r.acrossBorder(before)
	r.close0(file)
}

// TestSizesThatAreRefused: the device stays as it was, and the error tells what to do.
func TestSizesThatAreRefused(t *testing.T) {
	const size = 8 * mib
	for name, c := range map[string]struct {
		has, unit int64
		force     bool
		want      []string // nothing: it is taken
	}{
		"grown":                {size + 4096, 4096, false, nil},
		"the same":             {size, 4096, false, nil},
		"half a block more":    {size + 512, 4096, false, []string{"8389120 bytes now", "blocks of 4096", "grow it to 8392704 bytes", "goes on with 8388608"}},
		"half a sector more":   {size + 100, 512, true, []string{"grow it to 8389120 bytes"}},
		"shrunk":               {size / 2, 4096, false, []string{"4194304 bytes now", "the guest knows 8388608", "give it back its size", "--allow-shrink"}},
		"shrunk by force":      {size / 2, 4096, true, nil},
		"shrunk to half, odd":  {size/2 + 512, 4096, true, []string{"grow it to 4198400 bytes"}},
		"empty":                {0, 512, true, []string{"is empty now", "8388608 bytes"}},
		"nonsense":             {-512, 512, true, []string{"is empty now"}},
		"as large as can be":   {math.MaxInt64 &^ 4095, 4096, false, nil},
		"more than a file has": {math.MaxInt64, 512, false, []string{"not a whole number"}},
	} {
		t.Run(name, func(t *testing.T) {
			disk := newSizedDisk(0, size)
			r := newRig(t, disk, rigOptions{device: blk.DeviceOptions{LogicalBlockSize: uint32(c.unit)}})
			disk.bytes.Store(c.has)
			had, has, err := r.dev.Resize(c.force)
			if had != size || has != c.has {
				t.Errorf("had %d, has %d", had, has)
			}
			want := uint64(c.has) / 512
			if len(c.want) > 0 {
				want = size / 512
			}
			if got := r.capacity(); got != want || (err == nil) != (len(c.want) == 0) {
				t.Fatalf("capacity %d, want %d; %v", got, want, err)
			}
			for _, text := range c.want {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %q", err, text)
				}
			}
		})
	}
}

// TestShrinkingByForce: what lies beyond the new end fails from then on; what was in flight there ends as it ends.
func TestShrinkingByForce(t *testing.T) {
	in, out := newPipe(t)
	disk := newSizedDisk(in, 8*mib)
	r := newRig(t, disk, rigOptions{queues: 2})
	r.mem.Write(r.header, header(blk.RequestIn, lastSector-7))
	if _, err := r.drivers[1].Add(virtiotest.Request{
		Readable: []virtiotest.Area{{GPA: r.header, Len: 16}},
		Writable: []virtiotest.Area{{GPA: r.data, Len: 4096}, {GPA: r.status, Len: 1}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.drivers[1].Publish(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the read is in flight", func() bool { return len(r.pool.Pending()) == 1 })
	disk.bytes.Store(4 * mib)
	if _, _, err := r.dev.Resize(true); err != nil {
		t.Fatal(err)
	}
	r.header, r.status = r.alloc(16, 16), r.alloc(1, 1) // the others are in use
	const end = 4 * mib / 512
	r.answers("shrunk", []answerCase{
		{"read at the end", blk.RequestIn, end, nil, 512, 1, 1},
		{"read past the end", blk.RequestIn, end - 1, nil, 1024, 1, 1},
		{"write where the disk ended", blk.RequestOut, lastSector, make([]byte, 512), 0, 1, 1},
		{"zero past the end", zeroes, 0, segment(end-1, 2, 0), 0, 1, 1},
		{"read nothing at the end", blk.RequestIn, end, nil, 0, 1, 0},
	})
	if _, err := unix.Write(out, bytes.Repeat([]byte{9}, 4096)); err != nil {
		t.Fatal(err)
	}
	if c := r.next(1); c.Len != 4097 {
		t.Errorf("the read that was in flight: %+v", c)
	}
}

// TestGrowingUnderLoad: a queue reads at what is the end just now, while another goroutine makes the disk grow. What the
// driver has read as its capacity it can use.
func TestGrowingUnderLoad(t *testing.T) {
	path := newFile(t, mib)
	file := openFile(t, path, blk.FileOptions{})
	r := newRig(t, file, rigOptions{queues: 2, pool: blk.PoolOptions{Workers: 2}})
	const steps = 200
	grown := make(chan error, 1)
	go func() {
		for i := range int64(steps) {
			err := os.Truncate(path, mib+(i+1)*4096)
			if err == nil {
				_, err = file.Measure()
			}
			if err == nil {
				_, _, err = r.dev.Resize(false)
			}
			if err != nil {
				grown <- err
				return
			}
		}
		grown <- nil
	}()
	for last, i := uint64(0), 0; last < mib/512+steps*8; i++ {
		last = r.capacity()
		r.write(i%2, last-8, bytes.Repeat([]byte{byte(i)}, 4096))
		r.read((i+1)%2, last-1, 512)
		if a := r.request(i%2, blk.RequestIn, mib/512+steps*8, nil, 512); a.status != 1 {
			t.Fatalf("read behind what the disk will ever have: status %d", a.status)
		}
	}
	if err := <-grown; err != nil {
		t.Fatal(err)
	}
}
