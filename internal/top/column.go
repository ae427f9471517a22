package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

// column is one of the table.
type column struct {
	key   rune // sorts by it
	title string
	width int // of its cells, which stand right; 0: the rest of the line, left
	cell  func(*Row) string
	order func(a, b *Row) int // what stands first
}

// descending has the largest first.
func descending[T cmp.Ordered](of func(*Row) T) func(a, b *Row) int {
	return func(a, b *Row) int { return cmp.Compare(of(b), of(a)) }
}

var columns = []column{
	{'n', "NAME", 0, func(r *Row) string { return r.label() }, func(a, b *Row) int { return cmp.Compare(a.Name, b.Name) }},
	{'s', "STATE", 9, func(r *Row) string { return r.state() }, func(a, b *Row) int { return cmp.Compare(b.State, a.State) }},
	{'i', "IOPS", 8, func(r *Row) string { return count(r.IOPS) }, descending(func(r *Row) float64 { return r.IOPS })},
	{'r', "READ MB/s", 9, func(r *Row) string { return megabytes(r.Read) }, descending(func(r *Row) float64 { return r.Read })},
	{'w', "WRITE MB/s", 10, func(r *Row) string { return megabytes(r.Write) }, descending(func(r *Row) float64 { return r.Write })},
	{'5', "P50", 8, func(r *Row) string { return latency(r.P50) }, descending(func(r *Row) time.Duration { return r.P50 })},
	{'9', "P99", 8, func(r *Row) string { return latency(r.P99) }, descending(func(r *Row) time.Duration { return r.P99 })},
	{'d', "DEPTH", 6, func(r *Row) string { return depth(r.Depth) }, descending(func(r *Row) float64 { return r.Depth })},
	{'c', "CPU/IO", 8, func(r *Row) string { return latency(r.CPU) }, descending(func(r *Row) time.Duration { return r.CPU })},
	{'e', "ERR/s", 6, func(r *Row) string { return errorRate(r) }, descending(func(r *Row) float64 { return r.Errors })},
}

// columnOf finds the column that key sorts by.
func columnOf(key rune) (int, bool) {
	i := slices.IndexFunc(columns, func(c column) bool { return c.key == key })
	return i, i >= 0
}

// ColumnNames lists what a table can be sorted by, as SortBy reads it.
func ColumnNames() []string {
	var names []string
	for _, c := range columns {
		names = append(names, columnName(c))
	}
	return names
}

func columnName(c column) string {
	return strings.NewReplacer(" mb/s", "", "cpu/io", "cpu", "err/s", "errors").Replace(strings.ToLower(c.title))
}

// columnNamed finds a column by its name.
func columnNamed(name string) (int, bool) {
	i := slices.IndexFunc(columns, func(c column) bool { return columnName(c) == name })
	return i, i >= 0
}

// sorted returns the rows in the order of a column; rows that are equal there are in the order of their names.
func sorted(rows []Row, by int, reverse bool) []Row {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b Row) int {
		c := columns[by].order(&a, &b)
		if reverse {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.Name, b.Name))
	})
	return rows
}

// line writes one row, width cells wide.
func line(cells func(*column) string, width int) string {
	rest := width
	for _, c := range columns[1:] {
		rest -= c.width + 1
	}
	rest = max(rest, 8)
	var b strings.Builder
	b.WriteString(fit(cells(&columns[0]), rest))
	for i := range columns[1:] {
		c := &columns[i+1]
		text := cells(c)
		b.WriteString(strings.Repeat(" ", max(c.width-utf8.RuneCountInString(text), 0)+1) + text)
	}
	return b.String()
}

// fit cuts text to n cells, or fills it up.
func fit(text string, n int) string {
	switch r := []rune(text); {
	case len(r) > n:
		return string(r[:n-1]) + "…"
	default:
		return text + strings.Repeat(" ", n-len(r))
	}
}

// label is the name as a terminal may see it.
func (r *Row) label() string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '·'
		}
		return c
	}, r.Name)
}

func (r *Row) state() string {
	name := strings.ToLower(strings.TrimPrefix(r.State.String(), "STATE_"))
	switch r.State {
	case vublkv1.State_STATE_UNSPECIFIED:
		return ""
	case vublkv1.State_STATE_WAITING_FOR_LOCK:
		return "locked"
	}
	return name
}

// count writes a number in at most 8 cells.
func count(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v < 9.95:
		return fmt.Sprintf("%.1f", v)
	case v < 1e7:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2fM", v/1e6)
}

func megabytes(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v < 99.95e6:
		return fmt.Sprintf("%.1f", v/1e6)
	}
	return fmt.Sprintf("%.0f", v/1e6)
}

func depth(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", v)
}

func latency(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < time.Microsecond:
		return fmt.Sprintf("%dns", d)
	case d < 100*time.Microsecond:
		return fmt.Sprintf("%.1fµs", float64(d)/1e3)
	case d < time.Millisecond:
		return fmt.Sprintf("%.0fµs", float64(d)/1e3)
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(d)/1e6)
	case d < time.Second:
		return fmt.Sprintf("%.0fms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

func errorRate(r *Row) string {
	if r.Broken > 0 {
		return "broken"
	}
	return count(r.Errors)
}
