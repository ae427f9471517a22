package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/duel"
)

func TestFallen(t *testing.T) {
	for _, c := range []struct {
		metric                  duel.Metric
		value, spread, recorded float64
		want                    bool
	}{
		{duel.IOPS, 3, 0, 3, false},
		{duel.IOPS, 2.56, 0, 3, false},
		{duel.IOPS, 2.54, 0, 3, true},
		{duel.IOPS, 2.54, 0.02, 3, false},
		{duel.IOPS, 2, 0.02, 3, true},
		{duel.IOPS, 9, 0, 3, false},
		{duel.CPUPerRequest, 0.5, 0, 0.5, false},
		{duel.CPUPerRequest, 0.58, 0, 0.5, false},
		{duel.CPUPerRequest, 0.6, 0, 0.5, true},
		{duel.CPUPerRequest, 0.6, 0.05, 0.5, false},
		{duel.CPUPerRequest, 0.1, 0, 0.5, false},
	} {
		if got := fallen(duel.Ratio{Comparison: duel.Comparison{Metric: c.metric}, Value: c.value, Spread: c.spread}, c.recorded); got != c.want {
			t.Errorf("%+v fallen: %v", c, got)
		}
	}
}

// held is an entry with ratios of its own.
func held(name string, values ...float64) *entry {
	e := &entry{}
	e.Name = name
	for i, v := range values {
		c := duel.Comparison{Metric: duel.Metric(i), Of: vublk, To: qemu}
		e.ratios = append(e.ratios, ratio{Ratio: duel.Ratio{Comparison: c, Value: v}})
	}
	return e
}

func TestRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	r, err := readRecords(path)
	if err != nil {
		t.Fatal(err)
	}
	good := held("x", 3, 0.5)
	disk := held("disk", 3)
	disk.Ungated = true
	good.keep(r.of("peer 1"))
	disk.keep(r.of("peer 1"))
	if err := r.write(path); err != nil {
		t.Fatal(err)
	}
	if r, err = readRecords(path); err != nil || len(r.of("peer 1")) != 2 || len(r.of("peer 2")) != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	bad := held("x", 2, 0.5)
	for peer, fell := range map[string]bool{"peer 1": true, "peer 2": false} {
		bad.compare(r.of(peer))
		if bad.ratios[0].fallen != fell || bad.ratios[1].fallen {
			t.Errorf("beside %s: %+v", peer, bad.ratios)
		}
		if err := verdict([]*entry{good, bad}); errors.Is(err, errLimit) != fell {
			t.Errorf("beside %s: verdict %v", peer, err)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readRecords(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v of a damaged file", err)
	}
}

func TestVerdict(t *testing.T) {
	e := held("x", 2)
	if err := verdict([]*entry{e}); err != nil {
		t.Error(err)
	}
	e.ratios[0].AtLeast = 2.5
	if err := verdict([]*entry{e}); !errors.Is(err, errLimit) {
		t.Errorf("verdict %v of a limit that does not hold", err)
	}
	if err := verdict([]*entry{e, {err: errors.New("no")}}); err == nil || errors.Is(err, errLimit) {
		t.Errorf("verdict %v of what was not measured", err)
	}
}

func TestDocument(t *testing.T) {
	text := []byte("before\n" + markBegin + "old\n" + markEnd + "after\n")
	got, err := replace(text, []byte("new\n"))
	if err != nil || string(got) != "before\n"+markBegin+"new\n"+markEnd+"after\n" {
		t.Errorf("%q, %v", got, err)
	}
	if again, err := replace(got, []byte("new\n")); err != nil || !bytes.Equal(again, got) {
		t.Errorf("done again it is %q, %v", again, err)
	}
	for _, bad := range []string{"", markBegin, markEnd + markBegin, markBegin + markBegin + markEnd} {
		if _, err := replace([]byte(bad), nil); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	document, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replace(document, nil); err != nil {
		t.Error(err)
	}
}

func TestPeer(t *testing.T) {
	for line, want := range map[string]string{
		"qemu-storage-daemon version 7.2.22 (Debian 1:7.2)": "qemu-storage-daemon 7.2",
		"qemu-storage-daemon version 11.1.3":                "qemu-storage-daemon 11.1",
		"something else":                                    "something else",
	} {
		if got := (machine{qemu: line}).peer(); got != want {
			t.Errorf("peer %q, want %q", got, want)
		}
	}
}
