package resume

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// Layout of a File: a head, then two slots, of which the head's word names the one that counts. All numbers are
// little-endian.
//
//	head: u64 magic · u32 word        word: bit 0 slot · bit 1 there is a value · bits 8-15 step
//	slot: u32 length · u32 crc · value
const (
	fileMagic  = "vublkrsm"
	wordOffset = 8
	slotOffset = 4096
	slotHead   = 8
	slotSize   = 4 << 20 // sparse: what is not written does not exist
	maxValue   = slotSize - slotHead

	wordSlot  = 1 << 0
	wordValid = 1 << 1
	stepShift = 8
)

// ErrNoValue tells that a File never got a value.
var ErrNoValue = errors.New("no state was kept")

// File is a value in memory that outlives the process, with one writer.
type File struct {
	fd   *sys.FD
	word uint32
	buf  []byte
}

// NewFile makes an empty File.
func NewFile() (*File, error) {
	fd, err := sys.Memfd("vublk-state", slotOffset+2*slotSize)
	if err != nil {
		return nil, err
	}
	f := &File{fd: fd}
	if _, err := unix.Pwrite(fd.Int(), []byte(fileMagic), 0); err != nil {
		_ = fd.Close()
		return nil, errors.Wrap(err, "write a state file")
	}
	return f, nil
}

// OpenFile takes over the descriptor of a predecessor's File.
func OpenFile(fd *sys.FD) (*File, error) {
	var head [wordOffset + 4]byte
	n, err := unix.Pread(fd.Int(), head[:], 0)
	switch {
	case err != nil:
		return nil, errors.Wrap(err, "read a state file")
	case n < len(head) || string(head[:wordOffset]) != fileMagic:
		return nil, errors.New("read a state file: it is none")
	}
	return &File{fd: fd, word: binary.LittleEndian.Uint32(head[wordOffset:])}, nil
}

// FD is what the holder has to keep. It stays the File's.
func (f *File) FD() int { return f.fd.Int() }

// Close lets go of the file; the holder may still have it.
func (f *File) Close() error { return f.fd.Close() }

// Save replaces the value and its step.
func (f *File) Save(value []byte, step uint8) error {
	if len(value) > maxValue {
		return errors.Errorf("a state of %d bytes; there is room for %d", len(value), maxValue)
	}
	next := f.word&wordSlot ^ wordSlot
	f.buf = binary.LittleEndian.AppendUint32(f.buf[:0], uint32(len(value)))
	f.buf = binary.LittleEndian.AppendUint32(f.buf, crc32.ChecksumIEEE(value))
	f.buf = append(f.buf, value...)
	if _, err := unix.Pwrite(f.fd.Int(), f.buf, slotOffset+int64(next)*slotSize); err != nil {
		return errors.Wrap(err, "write a state file")
	}
	return f.commit(next | wordValid | uint32(step)<<stepShift)
}

// Step changes the step of the value that was saved last.
func (f *File) Step(step uint8) error {
	return f.commit(f.word&(wordSlot|wordValid) | uint32(step)<<stepShift)
}

// Clear leaves the file without a value.
func (f *File) Clear() error { return f.commit(f.word & wordSlot) }

// commit makes word count. It is one word: written or not.
func (f *File) commit(word uint32) error {
	if _, err := unix.Pwrite(f.fd.Int(), binary.LittleEndian.AppendUint32(nil, word), wordOffset); err != nil {
		return errors.Wrap(err, "write a state file")
	}
	f.word = word
	return nil
}

// Load returns the value and its step, or ErrNoValue.
func (f *File) Load() (value []byte, step uint8, err error) {
	if f.word&wordValid == 0 {
		return nil, 0, ErrNoValue
	}
	at := slotOffset + int64(f.word&wordSlot)*slotSize
	var head [slotHead]byte
	if _, err := unix.Pread(f.fd.Int(), head[:], at); err != nil {
		return nil, 0, errors.Wrap(err, "read a state file")
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxValue {
		return nil, 0, errors.Errorf("read a state file: a value of %d bytes", n)
	}
	value = make([]byte, n)
	if _, err := unix.Pread(f.fd.Int(), value, at+slotHead); err != nil {
		return nil, 0, errors.Wrap(err, "read a state file")
	}
	if sum := binary.LittleEndian.Uint32(head[4:]); crc32.ChecksumIEEE(value) != sum {
		return nil, 0, errors.New("read a state file: its checksum is wrong")
	}
	return value, uint8(f.word >> stepShift), nil
}
