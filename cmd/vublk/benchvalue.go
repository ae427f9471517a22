package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/export"
)

const (
	maxSpan = math.MaxInt64
	maxSeed = math.MaxInt32
	// maxCPU is beyond what the kernel can be built for.
	maxCPU = 8191
	// defaultBatch is bench.Config's.
	defaultBatch = 8
)

// benchValue is a flag whose value is read and checked by a function.
type benchValue struct {
	name, kind string
	show       func() string
	// read returns what is wrong and the way out, or nothing.
	read func(text string) (reason, remedy string)
}

func (v *benchValue) String() string {
	if v.show == nil {
		return "" // pflag asks a zero value
	}
	return v.show()
}

func (v *benchValue) Set(text string) error {
	if reason, remedy := v.read(text); reason != "" {
		return &export.OptionError{Option: "--" + v.name, Value: text, Reason: reason, Remedy: remedy}
	}
	return nil
}

func (v *benchValue) Type() string { return v.kind }

func textFlag(kind string, to *string) *benchValue {
	return &benchValue{kind: kind, show: func() string { return *to }, read: func(text string) (string, string) {
		*to = text
		return "", ""
	}}
}

func countFlag(name, kind string, to *int, low, high int) *benchValue {
	// A percentage that is not given comes from --rw: "0" would be a lie.
	show := func() string {
		if low == 0 && *to == 0 {
			return ""
		}
		return strconv.Itoa(*to)
	}
	return &benchValue{name: name, kind: kind, show: show, read: func(text string) (string, string) {
		n, err := strconv.Atoi(text)
		if err != nil || n < low || n > high {
			return "not a whole number, too small or too large", fmt.Sprintf("take %d to %d", low, high)
		}
		*to = n
		return "", ""
	}}
}

func durationFlag(name string, to *time.Duration, low, high time.Duration) *benchValue {
	return &benchValue{name: name, kind: "DURATION", show: func() string { return to.String() }, read: func(text string) (string, string) {
		d, err := time.ParseDuration(text)
		switch {
		case err != nil:
			return "not a duration", "write a number and a unit, such as 500ms, 2s or 1m30s"
		case d < low || d > high:
			return "too short or too long", fmt.Sprintf("take %v to %v", low, high)
		}
		*to = d
		return "", ""
	}}
}

func sizeFlag(name string, to *int64, low, high, unit int64) *benchValue {
	show := func() string {
		if *to == 0 {
			return ""
		}
		return export.FormatSize(*to)
	}
	return &benchValue{name: name, kind: "SIZE", show: show, read: func(text string) (string, string) {
		n, err := export.ParseSize(text)
		switch {
		case err != nil:
			return err.Error(), ""
		case n < low || n > high || n%unit != 0:
			return fmt.Sprintf("not a multiple of %d, too small or too large", unit), fmt.Sprintf("take %d to %s", low, largest(high))
		}
		*to = n
		return "", ""
	}}
}

func largest(n int64) string {
	if n == math.MaxInt64 {
		return "the size of the disk"
	}
	return export.FormatSize(n)
}

func depthFlag(name string, to *[]int) *benchValue {
	return &benchValue{name: name, kind: "N,…", show: func() string { return joinInts(*to) }, read: func(text string) (string, string) {
		list, ok := readRanges(text, "..", 1, bench.MaxDepth, func(n, last int) int { return min(2*n, max(last, n+1)) })
		if !ok {
			return fmt.Sprintf("not a list of depths from 1 to %d", bench.MaxDepth), "write 32, 1,2,4 or 1..128, which doubles"
		}
		*to = slices.Compact(slices.Sorted(slices.Values(list)))
		return "", ""
	}}
}

func cpuFlag(name string, to *[]int) *benchValue {
	return &benchValue{name: name, kind: "LIST", show: func() string { return joinInts(*to) }, read: func(text string) (string, string) {
		list, ok := readRanges(text, "-", 0, maxCPU, func(n, _ int) int { return n + 1 })
		if !ok {
			return "not a list of CPUs", "write 0, 1,3 or 0-3"
		}
		*to = list
		return "", ""
	}}
}

// readRanges reads numbers from low to high, and ranges of them that have sep in the middle, with commas between. next is what
// comes after n in a range that ends with last.
func readRanges(text, sep string, low, high int, next func(n, last int) int) (list []int, ok bool) {
	for _, part := range strings.Split(text, ",") {
		first, last, isRange := strings.Cut(part, sep)
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err != nil || err2 != nil || from < low || to < from || to > high {
			return nil, false
		}
		for n := from; n <= to; n = next(n, to) {
			list = append(list, n)
		}
	}
	return list, true
}

func joinInts(list []int) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ",")
}
