package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/test/e2e/guest"
	"github.com/vublk/vublk/test/e2e/scribe"
)

// writers are what keeps the disk busy: with each waiting for an fsync most of the time, some request is always in flight.
const writers = 3

// writing is a guest with an ext4 file system on which programs write and sync without end. They must notice nothing.
type writing struct {
	*vm
	image guest.Image
}

// startWriting boots a guest on the image that somebody serves.
func startWriting(t *testing.T, m guest.Image, d guest.Disk) writing {
	t.Helper()
	g := startGuest(t, guest.Options{Disks: []guest.Disk{d}}, guest.Contents{Static: []string{lab.scribe}})
	g.run(guest.HungTask + "; mount -t ext4 /dev/vda /mnt")
	must(t, g.Background("scribe", fmt.Sprintf("/tools/scribe /mnt %d /tmp/stop /tmp/rounds", writers)))
	g.rounds("10")
	return writing{g, m}
}

// finish ends the programs and the guest, and checks what they have left.
func (w writing) finish() scribe.Report {
	t := w.t
	t.Helper()
	w.run("touch /tmp/stop")
	var report scribe.Report
	must(t, json.Unmarshal([]byte(w.finished("scribe")), &report))
	w.run("umount /mnt")
	if found := guest.Complaints(w.run("dmesg")); len(found) > 0 {
		t.Errorf("the guest's kernel complains:\n%s", strings.Join(found, "\n"))
	}
	w.powerOff()
	checkImage(t, w.image, map[string][]byte{"/seed": seed})
	tree := newDir(t)
	_, err := guest.Host("debugfs", "-R", "rdump / "+tree, w.image.Path)
	must(t, err)
	n, err := scribe.Check(tree, writers)
	if err != nil {
		t.Error(err)
	}
	equal(t, "records that the host finds", int64(n), report.Records)
	return report
}

// dyingDisk is an image, a file system on it and a back-end's socket.
func dyingDisk(t *testing.T) (m guest.Image, socket string) {
	t.Helper()
	dir := newDir(t)
	return seededImage(t, filepath.Join(dir, "disk.img"), 256*mib), filepath.Join(dir, "vublk.sock")
}

// spread is the middle and the end of what was measured.
func spread(times []time.Duration) (p50, most time.Duration) {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[(len(sorted)-1)/2], sorted[len(sorted)-1]
}
