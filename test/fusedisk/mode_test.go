package fusedisk

import (
	"testing"

	"github.com/vublk/vublk/test/driver"
	"github.com/vublk/vublk/virtio"
)

// TestWhatTheDiskSees counts what arrives for each way of asking for durability.
func TestWhatTheDiskSees(t *testing.T) {
	const writes, flushEvery = 100, 10
	// On FUSE a write is made stable by an fdatasync: its server need not honour RWF_DSYNC (see blk.DiskInfo, NoDsync).
	through := Counts{Writes: writes, Fsyncs: writes}
	back := Counts{Writes: writes, Fsyncs: writes / flushEvery}
	for _, c := range []struct {
		name    string
		options []string
		decline virtio.Features
		toggle  []byte // values of writeback, each before another round
		want    []Counts
	}{
		{name: "default", want: []Counts{back}},
		{name: "writeback", options: []string{"--cache=writeback"}, want: []Counts{back}},
		{name: "writethrough", options: []string{"--cache=writethrough"}, want: []Counts{through}},
		{name: "unsafe", options: []string{"--cache=unsafe"}, want: []Counts{{Writes: writes}}},
		{name: "flush not negotiated", decline: driver.FeatureFlush, want: []Counts{through}},
		{name: "config-wce not negotiated", options: []string{"--config-wce"}, decline: driver.FeatureWCE, want: []Counts{back}},
		{name: "config-wce without flush", options: []string{"--config-wce"}, decline: driver.FeatureFlush, want: []Counts{through}},
		{
			name: "config-wce", options: []string{"--config-wce"}, toggle: []byte{0, 1, 0},
			want: []Counts{back, through, back, through}, // a FLUSH finds everything stable
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t, mib)
			m := connect(t, serve(t, []string{d.Path()}, c.options...).sockets[0], 1, c.decline)
			q, flush := m.queues[0], m.Features().Has(driver.FeatureFlush)
			if c.name == "unsafe" && !flush {
				t.Error("FLUSH is not offered")
			}
			for i, want := range c.want {
				if i > 0 {
					m.toggle(t, d, c.toggle[i-1])
				}
				before := d.Counts()
				for n := range writes {
					if err := q.Do(writePage(uint64(n) * 8)); err != nil {
						t.Fatal(err)
					}
					if flush && n%flushEvery == flushEvery-1 {
						if err := q.Do(flushRequest); err != nil {
							t.Fatal(err)
						}
					}
				}
				got := d.Counts().Minus(before)
				t.Logf("%d writes, FLUSH %v: %d writes marked O_DSYNC, %d fsyncs", got.Writes, flush, got.DSyncWrites, got.Fsyncs)
				if got != want {
					t.Errorf("round %d: %+v, want %+v", i, got, want)
				}
			}
		})
	}
}

// toggle sets writeback as a driver does. What has completed before must be stable when write-back ends.
func (m *machine) toggle(t *testing.T, d *Disk, writeback byte) {
	t.Helper()
	q := m.queues[0]
	if err := q.Do(writePage(0)); err != nil {
		t.Fatal(err)
	}
	before := d.Counts()
	if err := m.SetConfig(driver.ConfigWriteback, []byte{writeback}); err != nil {
		t.Fatal(err)
	}
	got := d.Counts().Minus(before).Fsyncs
	t.Logf("writeback becomes %d: %d fsyncs", writeback, got)
	if b, err := m.Config(driver.ConfigWriteback, 1); err != nil || b[0] != writeback {
		t.Errorf("writeback reads %v, %v after %d was set", b, err, writeback)
	}
	if want := 1 - int(writeback); got != want {
		t.Errorf("%d fsyncs when writeback becomes %d, want %d", got, writeback, want)
	}
}
