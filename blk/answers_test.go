package blk_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// segment is a struct virtio_blk_discard_write_zeroes.
func segment(sector uint64, sectors, flags uint32) []byte {
	b := binary.LittleEndian.AppendUint64(nil, sector)
	b = binary.LittleEndian.AppendUint32(b, sectors)
	return binary.LittleEndian.AppendUint32(b, flags)
}

// answerCase is one row of what a device must answer, on a disk of 8 MiB.
type answerCase struct {
	name   string
	kind   blk.RequestType
	sector uint64
	out    []byte
	in     int
	used   uint32
	status byte
}

const (
	lastSector = 8*mib/512 - 1
	discard    = blk.RequestDiscard
	zeroes     = blk.RequestWriteZeroes
	barrier    = 1 << 31
)

var answers = []answerCase{
	{"read 4k", blk.RequestIn, 0, nil, 4096, 4097, 0},
	{"read the last sector", blk.RequestIn, lastSector, nil, 512, 513, 0},
	{"read nothing", blk.RequestIn, 0, nil, 0, 1, 0},
	{"read nothing at the end", blk.RequestIn, lastSector + 1, nil, 0, 1, 0},
	{"read 511 bytes", blk.RequestIn, 0, nil, 511, 1, 1},
	{"read at the end", blk.RequestIn, lastSector + 1, nil, 512, 1, 1},
	{"read past the end", blk.RequestIn, lastSector, nil, 1024, 1, 1},
	{"read at sector 2^63", blk.RequestIn, 1 << 63, nil, 512, 1, 1},
	{"read at sector 2^64-1", blk.RequestIn, 1<<64 - 1, nil, 512, 1, 1},
	{"write 4k", blk.RequestOut, 8, make([]byte, 4096), 0, 1, 0},
	{"write nothing", blk.RequestOut, 0, nil, 0, 1, 0},
	{"write with a barrier flag", blk.RequestOut | barrier, 8, make([]byte, 512), 0, 1, 0},
	{"write past the end", blk.RequestOut, lastSector, make([]byte, 1024), 0, 1, 1},
	{"write 513 bytes", blk.RequestOut, 0, make([]byte, 513), 0, 1, 1},
	{"flush", blk.RequestFlush, 0, nil, 0, 1, 0},
	{"flush with a sector", blk.RequestFlush, 77, nil, 0, 1, 0},
	{"legacy flush", blk.RequestFlushOut, 0, nil, 0, 1, 0},
	{"id", blk.RequestGetID, 0, nil, 20, 21, 0},
	{"id, short", blk.RequestGetID, 0, nil, 8, 9, 0},
	{"id, long", blk.RequestGetID, 0, nil, 40, 21, 0},
	{"lifetime", 10, 0, nil, 6, 1, 2},
	{"secure erase", 14, 0, segment(0, 8, 0), 0, 1, 2},
	{"SCSI command", 2, 0, nil, 4, 1, 2},
	{"type 99", 99, 0, nil, 0, 1, 2},
	{"zone report", 16, 0, nil, 512, 1, 2},
	{"discard", discard, 0, segment(0, 8, 0), 0, 1, 0},
	{"discard 2 segments", discard, 0, append(segment(0, 8, 0), segment(8, 8, 0)...), 0, 1, 2},
	{"discard with the unmap flag", discard, 0, segment(0, 8, 1), 0, 1, 2},
	{"discard with a reserved flag", discard, 0, segment(0, 8, 2), 0, 1, 2},
	{"discard past the end", discard, 0, segment(lastSector, 8, 0), 0, 1, 1},
	{"discard nothing", discard, 0, segment(0, 0, 0), 0, 1, 0},
	{"discard without a segment", discard, 0, nil, 0, 1, 1},
	{"discard 15 bytes of segment", discard, 0, segment(0, 8, 0)[:15], 0, 1, 1},
	{"discard 4194305 sectors", discard, 0, segment(0, 1<<22+1, 0), 0, 1, 1},
	{"discard at sector 2^64-1", discard, 0, segment(1<<64-1, 8, 0), 0, 1, 1},
	{"zeroes", zeroes, 0, segment(0, 8, 0), 0, 1, 0},
	{"zeroes with the unmap flag", zeroes, 0, segment(0, 8, 1), 0, 1, 0},
	{"zeroes with a reserved flag", zeroes, 0, segment(0, 8, 2), 0, 1, 2},
	{"zeroes at sector 2^64-1", zeroes, 0, segment(1<<64-1, 1, 0), 0, 1, 1},
}

// stores are the Disks that every answer is the same on.
func stores(t *testing.T) map[string]blk.Disk {
	mem, err := blk.NewMem(8 * mib)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mem.Close() })
	return map[string]blk.Disk{
		"null": blk.NewNull(8 * mib),
		"mem":  mem,
		"file": openFile(t, newFile(t, 8*mib), blk.FileOptions{}),
	}
}

func TestAnswers(t *testing.T) {
	for store, disk := range stores(t) {
		for ring, features := range map[string]virtio.Features{"split": splitRing, "packed": packedRing} {
			t.Run(store+"/"+ring, func(t *testing.T) {
				r := newRig(t, disk, rigOptions{ring: features})
				for _, c := range answers {
					a := r.request(0, c.kind, c.sector, c.out, c.in)
					if a.status != c.status || a.used != c.used {
						t.Errorf("%s: status %d, used %d; want %d, %d", c.name, a.status, a.used, c.status, c.used)
					}
				}
			})
		}
	}
}

func TestNotNegotiatedIsUnsupported(t *testing.T) {
	r := newRig(t, blk.NewNull(8*mib), rigOptions{acked: virtio.FeatureVersion1})
	for _, c := range []answerCase{
		{"discard", discard, 0, segment(0, 8, 0), 0, 1, 2},
		{"zeroes", zeroes, 0, segment(0, 8, 0), 0, 1, 2},
		{"flush", blk.RequestFlush, 0, nil, 0, 1, 0},
	} {
		if a := r.request(0, c.kind, c.sector, c.out, c.in); a.status != c.status || a.used != c.used {
			t.Errorf("%s: status %d, used %d; want %d, %d", c.name, a.status, a.used, c.status, c.used)
		}
	}
}

func TestReadOnlyWritesNothing(t *testing.T) {
	path := newFile(t, 8*mib)
	w := openFile(t, path, blk.FileOptions{})
	pattern := bytes.Repeat([]byte{7}, 4096)
	r := newRig(t, w, rigOptions{})
	r.write(0, 0, pattern)
	r.close0(w)
	ro := openFile(t, path, blk.FileOptions{ReadOnly: true})
	r = newRig(t, ro, rigOptions{})
	if r.dev.Features()&uint64(blk.FeatureRO) == 0 || r.dev.Features()&uint64(blk.FeatureDiscard|blk.FeatureWriteZeroes) != 0 {
		t.Errorf("features %#x of a read-only device", r.dev.Features())
	}
	for _, c := range []answerCase{
		{"write", blk.RequestOut, 0, make([]byte, 4096), 0, 1, 1},
		{"discard", discard, 0, segment(0, 8, 0), 0, 1, 1},
		{"zeroes", zeroes, 0, segment(0, 8, 0), 0, 1, 1},
		{"flush", blk.RequestFlush, 0, nil, 0, 1, 0},
	} {
		if a := r.request(0, c.kind, c.sector, c.out, c.in); a.status != c.status || a.used != c.used {
			t.Errorf("%s: status %d, used %d; want %d, %d", c.name, a.status, a.used, c.status, c.used)
		}
	}
	if !bytes.Equal(r.read(0, 0, 4096), pattern) {
		t.Error("a read-only device was changed")
	}
}

// close0 ends the service of a disk before its test ends, so that it can be opened otherwise.
func (r *rig) close0(d *blk.FileDisk) {
	r.t.Helper()
	for _, f := range []func() error{r.dev.Reset, d.Close} {
		r.must(f)
	}
}

func TestSerial(t *testing.T) {
	for _, c := range []struct{ serial, want string }{
		{"short", "short\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
		{"exactly-twenty-bytes", "exactly-twenty-bytes"},
	} {
		r := newRig(t, blk.NewNull(mib), rigOptions{device: blk.DeviceOptions{Serial: c.serial}})
		if a := r.request(0, blk.RequestGetID, 0, nil, 20); string(a.data) != c.want {
			t.Errorf("id %q, want %q", a.data, c.want)
		}
	}
}

func TestLogicalBlockSize(t *testing.T) {
	r := newRig(t, blk.NewNull(8*mib), rigOptions{device: blk.DeviceOptions{LogicalBlockSize: 4096}})
	for _, c := range []answerCase{
		{"whole block", blk.RequestIn, 8, nil, 4096, 4097, 0},
		{"part of a block", blk.RequestIn, 8, nil, 512, 1, 1},
		{"across blocks", blk.RequestIn, 1, nil, 4096, 1, 1},
		{"discard of a part", discard, 0, segment(1, 8, 0), 0, 1, 1},
	} {
		if a := r.request(0, c.kind, c.sector, c.out, c.in); a.status != c.status || a.used != c.used {
			t.Errorf("%s: status %d, used %d; want %d, %d", c.name, a.status, a.used, c.status, c.used)
		}
	}
	var size [4]byte
	if r.dev.ReadConfig(size[:], 20); binary.LittleEndian.Uint32(size[:]) != 4096 {
		t.Errorf("blk_size %d in the configuration space", binary.LittleEndian.Uint32(size[:]))
	}
}

// TestFraming sends the same write and read with every way to cut header, data and status into descriptors.
func TestFraming(t *testing.T) {
	file := openFile(t, newFile(t, 8*mib), blk.FileOptions{})
	for ring, features := range map[string]virtio.Features{"split": splitRing, "packed": packedRing} {
		t.Run(ring, func(t *testing.T) {
			r := newRig(t, file, rigOptions{ring: features})
			for i, cut := range [][]uint32{{16}, {8, 8}, {1, 15}, {17}, {16 + 512}, {3, 5, 100, 420}, {15, 2}} {
				for _, in := range [][]uint32{{1024}, {1024 + 1}, {1, 1023}, {512, 513}, {1000, 24}} {
					t.Run(fmt.Sprint(cut, in), func(t *testing.T) { r.framed(t, byte(i+1), cut, in) })
				}
			}
		})
	}
}

// framed writes 1024 bytes with the readable bytes cut as given (the rest in one more descriptor), then reads them back
// into writable bytes cut likewise.
func (r *rig) framed(t *testing.T, fill byte, cut, in []uint32) {
	want := bytes.Repeat([]byte{fill}, 1024)
	area := r.data + 16 // page + 16 bytes: nothing is aligned
	r.mem.Write(area, append(header(blk.RequestOut, 24), want...))
	req := virtiotest.Request{Readable: areas(area, 16+1024, cut), Writable: []virtiotest.Area{{GPA: r.status, Len: 1}}}
	r.mem.Write(r.status, []byte{noStatus})
	if used := r.roundTrip(0, req); used != 1 || r.mem.Bytes(r.status, 1)[0] != 0 {
		t.Fatalf("write: used %d, status %d", used, r.mem.Bytes(r.status, 1)[0])
	}
	r.mem.Write(r.header, header(blk.RequestIn, 24))
	clear(r.mem.Bytes(area, 1025))
	req = virtiotest.Request{Readable: []virtiotest.Area{{GPA: r.header, Len: 16}}, Writable: areas(area, 1024+1, in)}
	if used := r.roundTrip(0, req); used != 1025 {
		t.Fatalf("read: used %d", used)
	}
	got := r.mem.Bytes(area, 1025)
	if !bytes.Equal(got[:1024], want) || got[1024] != 0 {
		t.Fatal("content differs, or the status byte is not the last writable byte")
	}
}

// areas cuts n bytes from gpa on as given; the rest is one more area.
func areas(gpa guestmem.GPA, n uint32, cut []uint32) []virtiotest.Area {
	var list []virtiotest.Area
	for _, c := range append(append([]uint32(nil), cut...), n) {
		c = min(c, n)
		if c == 0 {
			break
		}
		list = append(list, virtiotest.Area{GPA: gpa, Len: c})
		gpa += guestmem.GPA(c)
		n -= c
	}
	return list
}
