package replay

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/test/e2e/guest"
)

const blockSize = 4096 // of the file system, so data begins at a multiple of it

// name is a file of a writer in the guest. All of its content follows from it.
type name struct{ writer, number int }

func (n name) String() string { return fmt.Sprintf("w%02d-%08d", n.writer, n.number) }

// line is what the file repeats; a divisor of the block size.
func (n name) line() string {
	return fmt.Sprintf("vublk-replay-w%02d-f%08d.....\n", n.writer, n.number)
}

// size is some blocks and a part of one.
func (n name) size() int { return blockSize*(n.number%5) + 1000*(n.number%4+1) }

func (n name) content() []byte {
	line := n.line()
	return bytes.Repeat([]byte(line), n.size()/len(line)+1)[:n.size()]
}

// script is a writer: it begins a file when the fsync of the one before has returned, and reports in between. The shell has
// to come to the same names, lines and sizes.
func script(writer int) string {
	return fmt.Sprintf(`i=0
while [ ! -e /tmp/stop ]; do
	n=$(printf %%08d $i)
	yes "vublk-replay-w%02[1]d-f$n....." | head -c $((%[2]d * (i %% 5) + 1000 * (i %% 4 + 1))) |
		dd of=/mnt/w%02[1]d-$n bs=64k conv=fsync 2>/dev/null || exit 1
	echo "[synced %02[1]d $n]" >/dev/console
	i=$((i + 1))
done`, writer, blockSize)
}

var (
	reportLine = regexp.MustCompile(`\[synced (\d+) (\d+)\]`)
	dataLine   = regexp.MustCompile(`^vublk-replay-w(\d{2})-f(\d{8})\.{5}\n`)
)

func parseName(match [][]byte) name {
	w, _ := strconv.Atoi(string(match[1])) // the expressions let nothing but digits pass
	n, _ := strconv.Atoi(string(match[2]))
	return name{w, n}
}

// namesIn returns the files of which a write holds data that begins a block.
func namesIn(e entry) []name {
	var names []name
	for at := (blockSize - e.offset%blockSize) % blockSize; at < int64(len(e.data)); at += blockSize {
		if m := dataLine.FindSubmatch(e.data[at:min(at+64, int64(len(e.data)))]); m != nil {
			names = append(names, parseName(m))
		}
	}
	return slices.Compact(names)
}

// writeSparse writes a file anew and leaves out what is zero, which is most of a disk.
func writeSparse(path string, disk []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(int64(len(disk))); err != nil {
		return err
	}
	const chunk = 64 << 10
	zero := make([]byte, chunk)
	for at := 0; at < len(disk); at += chunk {
		part := disk[at:min(at+chunk, len(disk))]
		if bytes.Equal(part, zero[:len(part)]) {
			continue
		}
		if _, err := f.WriteAt(part, int64(at)); err != nil {
			return err
		}
	}
	return nil
}

// fileSystem checks images of the guest's file system.
type fileSystem struct{ dir string }

// lost makes of an image what a machine would find that boots with it, and returns those of the files that are not whole. An
// error tells that the file system is damaged.
func (f fileSystem) lost(disk []byte, files []name) (lost []name, err error) {
	image, tree := filepath.Join(f.dir, "cut"), filepath.Join(f.dir, "tree")
	if err := os.RemoveAll(tree); err != nil {
		return nil, errors.WithStack(err)
	}
	if err := os.Mkdir(tree, 0o700); err != nil {
		return nil, errors.WithStack(err)
	}
	if err := writeSparse(image, disk); err != nil {
		return nil, errors.WithStack(err)
	}
	// The journal and nothing else: a check that may repair would hide what it repairs.
	if _, err := guest.Host("e2fsck", "-E", "journal_only", "-y", image); err != nil {
		return nil, errors.Wrap(err, "replay of the journal")
	}
	if err := (guest.Image{Path: image}).Fsck(); err != nil {
		return nil, err
	}
	if _, err := guest.Host("debugfs", "-R", "rdump / "+tree, image); err != nil {
		return nil, err
	}
	for _, n := range files {
		got, err := os.ReadFile(filepath.Join(tree, n.String()))
		if err != nil && !os.IsNotExist(err) {
			return nil, errors.WithStack(err)
		}
		if !bytes.Equal(got, n.content()) {
			lost = append(lost, n)
		}
	}
	return lost, nil
}
