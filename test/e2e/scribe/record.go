package scribe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"github.com/pkg/errors"
)

// slots is how many records of a writer exist at a time: a new one takes the name of one that is so many older.
const slots = 16

// record is one file. All of its content follows from these numbers.
type record struct{ writer, number int }

func (r record) name() string { return fmt.Sprintf("w%02d-%02d", r.writer, r.number%slots) }

func (r record) String() string { return fmt.Sprintf("record %d of writer %d", r.number, r.writer) }

// content is up to 64 KiB of noise behind the record's name.
func (r record) content() []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], uint64(r.writer))
	binary.LittleEndian.PutUint64(key[8:], uint64(r.number))
	b := make([]byte, 1+uint64(r.number)*0x9e3779b97f4a7c15>>48)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return append([]byte(r.String()+"\n"), b...)
}

// check judges what was read of a record.
func (r record) check(got []byte) error {
	if want := r.content(); !bytes.Equal(got, want) {
		return errors.Errorf("%v: %d bytes beginning with %.60q, want %d bytes", r, len(got), got, len(want))
	}
	return nil
}

// notes is the file in which a writer keeps the number of its last record.
func notes(writer int) string { return fmt.Sprintf("w%02d-last", writer) }

// Check looks at a copy of the directory in which so many writers have worked, and returns how many records are there.
func Check(dir string, writers int) (records int, err error) {
	for w := range writers {
		text, err := os.ReadFile(filepath.Join(dir, notes(w)))
		if err != nil {
			return 0, errors.WithStack(err)
		}
		last, err := strconv.Atoi(string(bytes.TrimSpace(text)))
		if err != nil {
			return 0, errors.Wrap(err, notes(w))
		}
		for n := last; n >= 0 && n > last-slots; n-- {
			r := record{w, n}
			got, err := os.ReadFile(filepath.Join(dir, r.name()))
			if err != nil {
				return 0, errors.WithStack(err)
			}
			if err := r.check(got); err != nil {
				return 0, err
			}
		}
		records += last + 1
	}
	return records, nil
}
