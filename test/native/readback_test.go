package native

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// passage is one part of the image and the way in which it is written and read.
type passage struct {
	block  int // bytes of a request
	depth  int
	packed bool
	layout layout
	offset int64 // in the image
	size   int64
}

func (p passage) String() string {
	ring := "split"
	if p.packed {
		ring = "packed"
	}
	return fmt.Sprintf("%s, %d bytes, depth %d, %s", ring, p.block, p.depth, p.layout.name)
}

// passages tile the image: every block size at every depth, on both ring formats, in every layout. The small blocks
// have smaller shares, or they would take all the time.
func passages() (all []passage, size int64) {
	for _, share := range []struct {
		block int
		size  int64
	}{{512, 1 * mib}, {4096, 4 * mib}, {64 << 10, 16 * mib}, {1 * mib, 32 * mib}} {
		for _, packed := range []bool{false, true} {
			for _, depth := range []int{1, 32} {
				for _, l := range layouts {
					all = append(all, passage{block: share.block, depth: depth, packed: packed, layout: l, offset: size, size: share.size})
					size += share.size
				}
			}
		}
	}
	return all, size
}

const maxBlock = 1 * mib

// TestReadBack writes more than a gigabyte and reads it back, through the front-end and then from the host.
func TestReadBack(t *testing.T) {
	all, size := passages()
	if size < 1<<30 {
		t.Fatalf("%d bytes in sum", size)
	}
	image := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	s := serve(t, image)
	for _, packed := range []bool{false, true} {
		front := connect(t, s, vhostusertest.Options{
			Packed: packed, QueueSize: 256, Memory: []guestmem.RegionInfo{virtiotest.RAM(64 * mib)},
		})
		p, err := newPump(front.Queue(0), 32, maxBlock)
		if err != nil {
			t.Fatal(err)
		}
		for _, passage := range all {
			if passage.packed == packed {
				t.Run(passage.String(), func(t *testing.T) { passage.run(t, p) })
			}
		}
		if err := front.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := front.Disconnect(); err != nil {
			t.Fatal(err)
		}
	}
	s.stop(t)
	verifyFile(t, f, size)
}

// version is of all content in this test.
const version = 1

func (p passage) run(t *testing.T, pump *pump) {
	for i := range pump.slots {
		pump.lay(i, p.layout)
	}
	for _, kind := range []blk.RequestType{blk.RequestOut, blk.RequestIn} {
		pass := &pass{passage: p, kind: kind, blocks: uint64(p.size) / uint64(p.block)}
		if err := pump.run(p.depth, pass); err != nil {
			t.Fatal(err)
		}
		if pass.ended != pass.blocks {
			t.Fatalf("%v: %d of %d blocks", kind, pass.ended, pass.blocks)
		}
	}
}

// pass goes through a passage once, in an order that jumps about.
type pass struct {
	passage
	kind                  blk.RequestType
	blocks, issued, ended uint64
}

func (p *pass) next(int) (job, bool) {
	if p.issued == p.blocks {
		return job{}, false
	}
	const stride = 13 // odd, and the number of blocks is a power of two: every block once
	block := p.issued * stride % p.blocks
	p.issued++
	return job{kind: p.kind, sector: uint64(p.offset)/sectorSize + block*uint64(p.block/sectorSize), size: p.block}, true
}

func (p *pass) fill(_ int, j job, data []byte) { content(data, j.sector, version) }

func (p *pass) done(_ int, j job, data []byte) error {
	p.ended++
	return verify(data, j.sector, version)
}

// verifyFile reads an image as the host sees it.
func verifyFile(t *testing.T, f io.ReaderAt, size int64) {
	t.Helper()
	b := make([]byte, mib)
	for at := int64(0); at < size; at += mib {
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		if err := verify(b, uint64(at)/sectorSize, version); err != nil {
			t.Fatalf("seen from the host: %v", err)
		}
	}
}
