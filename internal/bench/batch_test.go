package bench

import (
	"encoding/binary"
	"testing"
)

// TestBatch counts what the device can see after each request.
func TestBatch(t *testing.T) {
	for batch, want := range map[int][]uint16{
		0: {0, 0, 0, 0, 0, 0, 0, 8, 8, 8}, // the default
		1: {1, 2, 3, 4, 5, 6, 7, 8, 9, 10},
		4: {0, 0, 0, 4, 4, 4, 4, 8, 8, 8},
	} {
		l, _ := newSelfLoop(t, Config{Depth: 10, Batch: batch})
		_, avail, _ := l.driver.RingBytes()
		for i, n := range want {
			if err := l.issue(uint16(i)); err != nil {
				t.Fatal(err)
			}
			if idx := binary.LittleEndian.Uint16(avail[2:]); idx != n {
				t.Errorf("batches of %d: %d requests made, %d available, want %d", batch, i+1, idx, n)
			}
		}
		if err := l.publish(); err != nil {
			t.Fatal(err)
		}
		if idx := binary.LittleEndian.Uint16(avail[2:]); idx != 10 {
			t.Errorf("batches of %d: %d available at last", batch, idx)
		}
	}
}
