package blk_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
)

func TestParseCPUs(t *testing.T) {
	for text, want := range map[string]struct {
		cpus   []int
		normal string
	}{
		"0":        {[]int{0}, "0"},
		"0-3,8":    {[]int{0, 1, 2, 3, 8}, "0-3,8"},
		"8,0-1":    {[]int{8, 0, 1}, "8,0-1"},
		"1,2,3":    {[]int{1, 2, 3}, "1-3"},
		"0-6:2,1":  {[]int{0, 2, 4, 6, 1}, "0,2,4,6,1"},
		"5-5,1023": {[]int{5, 1023}, "5,1023"},
	} {
		got, err := blk.ParseCPUs(text)
		if err != nil || !slices.Equal(got, want.cpus) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want.cpus)
			continue
		}
		if normal := blk.FormatCPUs(got); normal != want.normal {
			t.Errorf("%s is written %s, want %s", text, normal, want.normal)
		}
	}
	for text, want := range map[string]string{
		"": "neither", "a": "neither", "1-": "neither", "-1": "neither", "0,": "neither", "1:2": "neither", "0-3:": "neither",
		"0x1": "neither", "1-2-3": "neither", "99999": "neither", "3-1": "nothing", "0-3:0": "nothing", "1024": "no CPU 1024",
		"0-1024": "no CPU 1024", "1,0-1": "CPU 1 comes twice",
	} {
		if got, err := blk.ParseCPUs(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want an error with %q", text, got, err, want)
		}
	}
}

// TestPoolCPUs: one worker for each CPU that is named, and an error that tells which CPU cannot be had.
func TestPoolCPUs(t *testing.T) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !may.IsSet(cpu) {
		cpu++
	}
	pool, err := blk.NewPool(blk.PoolOptions{CPUs: []int{cpu}, Slots: 8})
	if err != nil {
		t.Fatal(err)
	}
	if n := pool.Workers(); n != 1 {
		t.Errorf("%d workers on one CPU", n)
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
	_, err = blk.NewPool(blk.PoolOptions{CPUs: []int{cpu, 1023}, Slots: 8})
	if e := (*blk.CPUError)(nil); !errors.As(err, &e) || e.CPU != 1023 || !slices.Contains(e.Usable, cpu) || slices.Contains(e.Usable, 1023) {
		t.Errorf("CPU 1023: %v", err)
	}
	if _, err = blk.NewPool(blk.PoolOptions{CPUs: []int{cpu}, Workers: 2, Slots: 8}); err == nil {
		t.Error("two workers on one CPU")
	}
}
