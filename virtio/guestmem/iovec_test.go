package guestmem

import (
	"bytes"
	"slices"
	"testing"
)

func TestAdvance(t *testing.T) {
	for _, tc := range []struct {
		n    uint64
		want []Iovec
	}{
		{0, []Iovec{{100, 10}, {200, 0}, {300, 5}}},
		{1, []Iovec{{101, 9}, {200, 0}, {300, 5}}},
		{10, []Iovec{{300, 5}}},
		{12, []Iovec{{302, 3}}},
		{15, nil},
		{99, nil},
	} {
		v := []Iovec{{100, 10}, {200, 0}, {300, 5}}
		got := Advance(v, tc.n)
		if !slices.Equal(got, tc.want) {
			t.Errorf("Advance(%d) = %v; want %v", tc.n, got, tc.want)
		}
		if left := TotalLen(got); left != 15-min(tc.n, 15) {
			t.Errorf("Advance(%d) leaves %d bytes", tc.n, left)
		}
	}
	if got := Advance([]Iovec{{1, 0}, {2, 3}}, 0); !slices.Equal(got, []Iovec{{2, 3}}) {
		t.Errorf("an empty element in front stays: %v", got)
	}
}

func TestCopy(t *testing.T) {
	r, _ := newRegion(t, RegionInfo{Size: page})
	v := []Iovec{{r.host + 8, 3}, {r.host, 0}, {r.host + 100, 4}}
	for _, tc := range []struct{ in, out string }{
		{"", "......."}, {"ab", "ab....."}, {"abcd", "abcd..."}, {"abcdefg", "abcdefg"}, {"abcdefghij", "abcdefg"},
	} {
		CopyOut(v, []byte("......."))
		if n := CopyOut(v, []byte(tc.in)); n != min(len(tc.in), 7) {
			t.Errorf("CopyOut(%q) = %d", tc.in, n)
		}
		b := make([]byte, 9)
		if n := CopyIn(b, v); n != 7 || string(b[:n]) != tc.out {
			t.Errorf("CopyIn = %d, %q; want %q", n, b[:n], tc.out)
		}
	}
	short := make([]byte, 4)
	if n := CopyIn(short, v); n != 4 || !bytes.Equal(short, []byte("abcd")) {
		t.Errorf("CopyIn to a short buffer = %d, %q", n, short)
	}
	if n := testing.AllocsPerRun(100, func() { CopyIn(short, v) }); n != 0 {
		t.Errorf("CopyIn allocates %v times", n)
	}
}
