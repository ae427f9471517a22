package replay

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// logged is a log that is made by hand.
type logged struct {
	sector int
	n      uint64
	body   []byte
}

func (l *logged) add(flags entryFlags, first, count uint64, content byte) {
	b := make([]byte, l.sector)
	for i, v := range []uint64{first, count, uint64(flags), 0} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	if flags&(flagDiscard|flagMark) == 0 {
		b = append(b, bytes.Repeat([]byte{content}, int(count)*l.sector)...)
	}
	l.body = append(l.body, b...)
	l.n++
}

func (l *logged) bytes() []byte {
	b := make([]byte, l.sector)
	binary.LittleEndian.PutUint64(b, logMagic)
	binary.LittleEndian.PutUint64(b[8:], logVersion)
	binary.LittleEndian.PutUint64(b[16:], l.n)
	binary.LittleEndian.PutUint32(b[24:], uint32(l.sector))
	return append(b, l.body...)
}

func (l *logged) write(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(newDir(t), "log")
	must(t, os.WriteFile(path, l.bytes(), 0o600))
	return path
}

// TestReplay replays logs of every kind of entry onto four sectors of dots.
func TestReplay(t *testing.T) {
	type op struct {
		flags entryFlags
		first uint64
		count uint64
		data  byte
	}
	for _, c := range []struct {
		name string
		ops  []op
		want []string // the first byte of each sector, at each point
	}{
		{"nothing flushed", []op{{0, 0, 1, 'a'}}, nil},
		{"flush", []op{{0, 0, 2, 'a'}, {flagFlush, 0, 0, 0}, {0, 3, 1, 'b'}}, []string{"aa.."}},
		{"two flushes", []op{{0, 0, 1, 'a'}, {flagFlush, 0, 0, 0}, {0, 0, 1, 'b'}, {flagFlush, 0, 0, 0}}, []string{"a...", "b..."}},
		{"flush with data", []op{{0, 0, 1, 'a'}, {flagFlush, 1, 1, 'b'}, {flagFlush, 0, 0, 0}}, []string{"a...", "ab.."}},
		{"FUA alone is stable", []op{{0, 0, 1, 'a'}, {flagFUA, 1, 1, 'b'}}, []string{".b.."}},
		{"FUA over what is flushed later", []op{{0, 0, 2, 'a'}, {flagFUA, 1, 1, 'b'}, {flagFlush, 0, 0, 0}}, []string{".b..", "ab.."}},
		{"flush and FUA", []op{{0, 0, 1, 'a'}, {flagFlush | flagFUA, 1, 1, 'b'}}, []string{"ab.."}},
		{"discard", []op{{0, 0, 4, 'a'}, {flagDiscard, 1, 2, 0}, {flagFlush, 0, 0, 0}}, []string{"a\x00\x00a"}},
		{"mark", []op{{flagMark, 0, 0, 0}, {0, 0, 1, 'a'}, {flagFlush, 0, 0, 0}}, []string{"a..."}},
	} {
		for _, sector := range []int{512, 4096} {
			l := &logged{sector: sector}
			for _, o := range c.ops {
				l.add(o.flags, o.first, o.count, o.data)
			}
			var got []string
			_, err := replay(l.write(t), bytes.Repeat([]byte{'.'}, 4*sector), observer{point: func(p point) error {
				got = append(got, string([]byte{p.disk[0], p.disk[sector], p.disk[2*sector], p.disk[3*sector]}))
				return nil
			}})
			must(t, err)
			if !slices.Equal(got, c.want) {
				t.Errorf("%s, sectors of %d bytes: %q, want %q", c.name, sector, got, c.want)
			}
		}
	}
}

// TestBadLogs: what is no log, or not all of one, is an error and not the end.
func TestBadLogs(t *testing.T) {
	whole := func(flags entryFlags, first, count uint64) []byte {
		l := &logged{sector: 512}
		l.add(flags, first, count%8, 'a')
		b := l.bytes()
		binary.LittleEndian.PutUint64(b[512+8:], count)
		return b
	}
	for _, c := range []struct {
		name, want string
		log        []byte
	}{
		{"something else", "magic", bytes.Repeat([]byte{1}, 512)},
		{"cut in the superblock", "superblock", whole(0, 0, 1)[:20]},
		{"cut in an entry", "entry 1 of 1", whole(0, 0, 1)[:700]},
		{"cut before an entry", "entry 1 of 1", whole(0, 0, 1)[:512]},
		{"cut in its data", "data of entry 1", whole(0, 0, 1)[:1100]},
		{"unknown flag", "flags", whole(16, 0, 0)},
		{"beyond the disk", "of a disk", whole(0, 8, 1)},
		{"much data", "bytes of data", whole(0, 0, 1<<32)},
		{"overflow", "sectors", whole(0, 1<<63, 1)},
	} {
		path := filepath.Join(newDir(t), "log")
		must(t, os.WriteFile(path, c.log, 0o600))
		if _, err := replay(path, make([]byte, 2048), observer{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error about %q", c.name, err, c.want)
		}
	}
}
