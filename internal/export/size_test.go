package export

import (
	"math"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		text string
		want int64
		err  string
	}{
		{text: "4096", want: 4096},
		{text: "0", want: 0},
		{text: "7B", want: 7},
		{text: "512M", want: 512 << 20},
		{text: "20GiB", want: 20 << 30},
		{text: "20gib", want: 20 << 30},
		{text: "3t", want: 3 << 40},
		{text: "7EiB", want: 7 << 60},
		{text: "9223372036854775807", want: math.MaxInt64},
		{text: "", err: "not a size"},
		{text: "GiB", err: "not a size"},
		{text: "-1G", err: "not a size"},
		{text: "+1G", err: "not a size"},
		{text: "1.5G", err: "not a size"},
		{text: "1 G", err: "not a size"},
		{text: "0x10", err: "not a size"},
		{text: "20GB", err: "write 20GiB"},
		{text: "1BB", err: "not a unit"},
		{text: "1Bi", err: "not a unit"},
		{text: "1i", err: "not a unit"},
		{text: "1KK", err: "not a unit"},
		{text: "8E", err: "8EiB"},
		{text: "9223372036854775808", err: "8EiB"},
		{text: "99999999999999999999T", err: "8EiB"},
	} {
		got, err := ParseSize(c.text)
		switch {
		case c.err == "" && (err != nil || got != c.want):
			t.Errorf("ParseSize(%q) = %d, %v; want %d", c.text, got, err, c.want)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("ParseSize(%q) = %d, %v; want an error with %q", c.text, got, err, c.err)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0B", 1: "1B", 1000: "1000B", 1024: "1KiB", 1536: "1536B", 20 << 30: "20GiB", 3 << 29: "1536MiB", 1 << 62: "4EiB",
	} {
		if got := FormatSize(n); got != want {
			t.Errorf("FormatSize(%d) = %s, want %s", n, got, want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"20GiB", "512M", "", "GB", "9223372036854775807", "1Ki"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			return
		}
		if back, err := ParseSize(FormatSize(n)); n < 0 || err != nil || back != n {
			t.Fatalf("%q: %d is written as %s and read as %d, %v", s, n, FormatSize(n), back, err)
		}
	})
}
