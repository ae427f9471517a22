package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/vublk/vublk/test/e2e/guest"
)

const (
	fsSize    = 256 * mib
	stampSize = 32 * mib // of stamped blocks behind the file system
	fioMemory = 8 * mib  // that fio reads them into
	fioRead   = 256 * 1024
	guestPage = 4096
)

// stamp begins each block behind the file system. Only fio reads them, past the page cache and into pages that Linux never
// moves: so no CPU writes a page of guest memory that begins like this, only vublk does. When it has not arrived as it was,
// our log has missed it.
var stamp = []byte("stamped for fio, with no other reader: ")

// hugePages is a word for the kernel's command line: fio's memory, of pages that the kernel does not move.
var hugePages = fmt.Sprintf("hugepages=%d", fioMemory/(2*mib)+3)

// fio is the guest's part: random reads of stamped blocks.
var fio = fmt.Sprintf("/tools/fio --name=reads --filename=/dev/vda --offset=%d --size=%d "+
	"--readonly --rw=randread --bs=%d --iodepth=%d --rate_iops=400 --direct=1 --ioengine=libaio --iomem=shmhuge --time_based "+
	"--runtime=3600 --minimal", fsSize, stampSize, fioRead, fioMemory/fioRead)

// fioReads waits until fio has read twice what its memory holds.
var fioReads = fmt.Sprintf(`reads() {
	for p in $(pidof fio); do
		[ "$(sed -n 's/^read_bytes: //p' /proc/$p/io)" -ge %d ] 2>/dev/null && return 0
	done
	return 1
}
n=0; until reads; do n=$((n + 1)); [ $n -lt 800 ] || { echo fio does not read; exit 1; }; usleep 100000; done`, 2*fioMemory)

// compare looks at each page of memory before the guest goes on: all have arrived as they were.
//
// QEMU before 9.0 does not have the CPUs that it emulates note their writes anew after it has looked at what was written
// (03bfc2188f, "physmem: Fix migration dirty bitmap coherency with TCG memory access"; Debian 12's 7.2.22 does not have
// it). So it loses pages that the guest's CPUs wrote, about one in ten times, with its own virtio-blk as well. With
// such a QEMU only what none but vublk writes must be there, and what else is lost is mended, or the guest would not live.
func (m *migrating) compare(from, to host) {
	m.t.Helper()
	stamped, ours, others := 0, 0, 0
	must(m.t, guest.ComparePages(from.Guest, to.Guest, func(source, arrived []byte) bool {
		read := bytes.HasPrefix(source, stamp)
		if read {
			stamped++
		}
		switch {
		case bytes.Equal(source, arrived):
			return false
		case read || len(lab.qemu) > 0:
			ours++
			return false
		}
		others++
		return true
	}))
	m.t.Logf("%d pages read by fio; not arrived: %d, and %d by QEMU's fault", stamped, ours, others)
	if ours > 0 {
		m.t.Errorf("%d pages have not arrived as they were", ours)
	}
	// fio keeps to a pace: on a fast machine it does not use all of its memory.
	if least := fioRead / guestPage; stamped < least {
		m.t.Errorf("the guest holds %d pages that fio has read, want %d at least", stamped, least)
	}
}

// stampImage puts the stamped blocks behind the file system, each with a number and a piece of the payload of its own.
func stampImage(t *testing.T, image guest.Image) {
	t.Helper()
	f, err := os.OpenFile(image.Path, os.O_WRONLY, 0)
	must(t, err)
	block := make([]byte, guestPage)
	for i := range stampSize / guestPage {
		head := binary.LittleEndian.AppendUint64(stamp[:len(stamp):len(stamp)], uint64(i))
		copy(block[copy(block, head):], payload[i:])
		_, err := f.WriteAt(block, fsSize+int64(i)*guestPage)
		must(t, err)
	}
	must(t, f.Close())
}
