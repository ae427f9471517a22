package fusedisk

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/test/e2e/guest"
)

const (
	guestTime = 5 * time.Minute // of a script in a guest

	guestFsyncs = 5 // each after a batch of writes
	guestBatch  = 4
	guestWrites = guestFsyncs * guestBatch

	throughCache, backCache = "write through", "write back" // as Linux calls the modes in sysfs
)

// guestMode is a way of asking for durability, as a Linux guest has it.
type guestMode struct {
	name   string
	option string // of the export
	toggle string // what the guest writes to cache_type before its work
	cache  string // what write_cache must tell then
	change Counts // what the toggle alone makes arrive
	want   Counts
}

// TestGuestModes boots a Linux guest with a disk for each mode, and compares what the guest believes of its disks' caches
// with what arrives for the same work.
func TestGuestModes(t *testing.T) {
	back := Counts{Writes: guestWrites, Fsyncs: guestFsyncs}
	through := Counts{Writes: guestWrites, Fsyncs: guestWrites} // see TestWhatTheDiskSees
	wce := "cache=writeback,config-wce"
	disks := [][]guestMode{ // the modes of a disk are had one after the other
		{{name: "default", cache: backCache, want: back}},
		{{name: "--cache=writethrough", option: "cache=writethrough", cache: throughCache, want: through}},
		{{name: "--cache=unsafe", option: "cache=unsafe", cache: backCache, want: Counts{Writes: guestWrites}}},
		{
			{name: "--config-wce", option: wce, cache: backCache, want: back},
			// What has completed before must become stable when write-back ends.
			{name: "toggled from the guest", toggle: throughCache, cache: throughCache, change: Counts{Fsyncs: 1}, want: through},
			{name: "toggled back", toggle: backCache, cache: backCache, want: back},
		},
	}
	var media []*Disk
	var exports []string
	for _, modes := range disks {
		d := newDisk(t, mib)
		media = append(media, d)
		exports = append(exports, strings.TrimSuffix(d.Path()+","+modes[0].option, ","))
	}
	g := boot(t, serve(t, exports).sockets)
	for i, modes := range disks {
		for _, m := range modes {
			m.show(t, g, media[i], fmt.Sprintf("vd%c", 'a'+i))
		}
	}
	if err := g.PowerOff(); err != nil {
		t.Error(err)
	}
}

// show switches the disk to the mode and has the guest work.
func (m guestMode) show(t *testing.T, g *guest.Guest, d *Disk, dev string) {
	t.Helper()
	if m.toggle != "" {
		// Something must be there that is not stable yet.
		inGuest(t, g, fmt.Sprintf("dd if=/dev/zero of=/dev/%s bs=4096 count=1 oflag=direct conv=notrunc", dev))
		before := d.Counts()
		inGuest(t, g, fmt.Sprintf("echo %q > /sys/block/%s/cache_type", m.toggle, dev))
		if got := arrived(d, before); got != m.change {
			t.Errorf("%s: cache_type changes: %+v, want %+v", m.name, got, m.change)
		}
	}
	cache := inGuest(t, g, fmt.Sprintf("cat /sys/block/%s/queue/write_cache", dev))
	before := d.Counts()
	inGuest(t, g, fmt.Sprintf("set -e; for i in $(seq 0 %d); do"+
		" dd if=/dev/zero of=/dev/%s bs=4096 count=%d seek=$((i*%d)) oflag=direct conv=fsync,notrunc; done",
		guestFsyncs-1, dev, guestBatch, guestBatch))
	got := arrived(d, before)
	t.Logf("| %-22s | write_cache %-13s | guest: %d writes, %d fsyncs | disk: %2d writes, %2d fsyncs |",
		m.name, cache, guestWrites, guestFsyncs, got.Writes, got.Fsyncs)
	if cache != m.cache || got != m.want {
		t.Errorf("%s: write_cache is %q and %+v arrived, want %q and %+v", m.name, cache, got, m.cache, m.want)
	}
}

// arrived leaves reads out: they are the guest's affair.
func arrived(d *Disk, before Counts) Counts {
	c := d.Counts().Minus(before)
	c.Reads = 0
	return c
}

// boot starts a guest with a disk for each socket: vda, vdb and so on.
func boot(t *testing.T, sockets []string) *guest.Guest {
	t.Helper()
	repo, err := guest.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := guest.FindKernel(repo)
	if err != nil {
		t.Fatal(err)
	}
	o := guest.Options{Dir: t.TempDir(), Kernel: kernel.Image}
	o.Initramfs = filepath.Join(o.Dir, "initramfs")
	for i, s := range sockets {
		o.Disks = append(o.Disks, guest.Disk{ID: fmt.Sprintf("disk%d", i), Socket: s, NumQueues: 1})
	}
	if err := guest.Initramfs(kernel, o.Initramfs, guest.Contents{}); err != nil {
		t.Fatal(err)
	}
	g, err := guest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Close()
		if t.Failed() {
			t.Logf("console:\n%s", g.Console())
		}
	})
	if _, err := g.WaitReady(); err != nil {
		t.Fatal(err)
	}
	return g
}

// inGuest runs a script that must succeed, and returns what it printed.
func inGuest(t *testing.T, g *guest.Guest, script string) string {
	t.Helper()
	r, err := g.Run(script, guestTime)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != 0 {
		t.Fatalf("guest runs %q: status %d: %s", script, r.Status, r.Output)
	}
	return strings.TrimSpace(r.Output)
}
