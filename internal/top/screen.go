package top

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

// Sample is a message to a Screen: the daemon's counters, or why there are none.
type Sample struct {
	Stats *vublkv1.StatsResponse
	Err   error
}

// Screen is the live table. It is a tea.Model: bubbletea calls it from one goroutine.
type Screen struct {
	where   string // the daemon's socket
	last    *vublkv1.StatsResponse
	table   Table
	known   bool // table is one
	err     error
	by      int // column
	reverse bool
	idle    bool // exports that do nothing are shown, too
	paused  bool
	help    bool
	first   int // row that the screen begins with
	width   int
	height  int
}

// NewScreen begins a table of the daemon at that socket, sorted by a column of ColumnNames; what has no such name is sorted by
// IOPS.
func NewScreen(socket, by string) *Screen {
	s := &Screen{where: socket, idle: true, width: 100, height: 24}
	var ok bool
	if s.by, ok = columnNamed(by); !ok {
		s.by, _ = columnOf('i')
	}
	return s
}

// Init implements tea.Model.
func (s *Screen) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (s *Screen) Update(m tea.Msg) (tea.Model, tea.Cmd) {
	switch m := m.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = max(m.Width, 1), max(m.Height, 1)
	case Sample:
		s.sample(m)
	case tea.KeyPressMsg:
		return s, s.key(m.String())
	}
	s.first = max(min(s.first, len(s.rows())-s.room()), 0)
	return s, nil
}

func (s *Screen) sample(m Sample) {
	if s.err = m.Err; m.Err != nil {
		s.last = nil // what comes next may be another process
		return
	}
	if s.last != nil && !s.paused {
		if t, ok := NewTable(s.last, m.Stats); ok {
			s.table, s.known = t, true
		}
	}
	s.last = m.Stats
}

func (s *Screen) key(k string) tea.Cmd {
	switch k {
	case "q", "ctrl+c", "esc":
		return tea.Quit
	case "h", "?":
		s.help = !s.help
	case "p", "space":
		s.paused = !s.paused
	case "a":
		s.idle = !s.idle
	case "R":
		s.reverse = !s.reverse
	case "up", "k":
		s.first = max(s.first-1, 0)
	case "down", "j":
		s.first++
	case "pgup":
		s.first = max(s.first-s.room(), 0)
	case "pgdown":
		s.first += s.room()
	case "home", "g":
		s.first = 0
	case "end", "G":
		s.first = len(s.table.Rows)
	default:
		if r := []rune(k); len(r) == 1 {
			if i, ok := columnOf(r[0]); ok {
				s.reverse = i == s.by && !s.reverse
				s.by = i
			}
		}
	}
	s.first = max(min(s.first, len(s.rows())-s.room()), 0)
	return nil
}

// rows are those that are shown, in their order.
func (s *Screen) rows() []Row {
	rows := s.table.Rows
	if !s.idle {
		var busy []Row
		for _, r := range rows {
			if r.IOPS > 0 || r.Depth > 0 {
				busy = append(busy, r)
			}
		}
		rows = busy
	}
	return sorted(rows, s.by, s.reverse)
}

// room is how many rows the screen has for exports.
func (s *Screen) room() int { return max(s.height-headLines-1, 1) }

// headLines is what stands above the exports: two lines about all of them, an empty one, the columns' names.
const headLines = 4

var (
	strong  = lipgloss.NewStyle().Bold(true)
	turned  = lipgloss.NewStyle().Reverse(true)
	faint   = lipgloss.NewStyle().Faint(true)
	alarmed = lipgloss.NewStyle().Foreground(lipgloss.Color("1")).Bold(true)
)

// View implements tea.Model.
func (s *Screen) View() tea.View {
	v := tea.NewView(s.text())
	v.AltScreen = true
	return v
}

// text is what the screen shows.
func (s *Screen) text() string {
	if s.help {
		return s.clip(helpText)
	}
	var b strings.Builder
	b.WriteString(s.head())
	if !s.known {
		return s.clip(b.String())
	}
	b.WriteString("\n" + turned.Render(fit(header(s.by, s.reverse, s.width), s.width)))
	rows := s.rows()
	from := min(s.first, len(rows))
	for i := from; i < min(from+s.room(), len(rows)); i++ {
		r := &rows[i]
		text := fit(line(func(c *column) string { return c.cell(r) }, s.width), s.width)
		switch {
		case r.Errors > 0 || r.Broken > 0 || r.State == vublkv1.State_STATE_FAILED:
			text = alarmed.Render(text)
		case r.IOPS == 0 && r.Depth == 0:
			text = faint.Render(text)
		}
		b.WriteString("\n" + text)
	}
	return s.clip(b.String())
}

// header is the line with the columns' names; the one that counts is marked.
func header(by int, reverse bool, width int) string {
	return line(func(c *column) string {
		switch {
		case c.key != columns[by].key:
			return c.title
		case reverse:
			return c.title + "^"
		}
		return c.title + "v"
	}, width)
}

func (s *Screen) head() string {
	title := strong.Render("vublk top") + "  " + s.where
	switch {
	case s.err != nil:
		title += "  " + alarmed.Render(s.err.Error())
	case !s.known:
		title += "  waiting for the second sample"
	case s.paused:
		title += "  paused"
	}
	if !s.known {
		return title + "\n\n"
	}
	total := &s.table.Total
	return fmt.Sprintf("%s  %d exports, every %v  %s\n%s\n", title, len(s.table.Rows), s.table.Span.Round(100*time.Millisecond),
		faint.Render("h: help"), s.totals(total))
}

// totals is the line about all exports.
func (s *Screen) totals(t *Row) string {
	var busy strings.Builder
	for _, b := range s.table.Busy {
		fmt.Fprintf(&busy, " %.0f%%", 100*b)
	}
	return fmt.Sprintf("IOPS %s  read %s MB/s  write %s MB/s  p50 %s  p99 %s  depth %s  CPU/IO %s  workers%s",
		count(t.IOPS), megabytes(t.Read), megabytes(t.Write), latency(t.P50), latency(t.P99), depth(t.Depth), latency(t.CPU), busy.String())
}

// clip cuts what is more than the screen has, in both directions.
func (s *Screen) clip(text string) string {
	lines := strings.Split(text, "\n")
	lines = lines[:min(len(lines), s.height)]
	cut := lipgloss.NewStyle().MaxWidth(s.width)
	for i := range lines {
		lines[i] = cut.Render(lines[i])
	}
	return strings.Join(lines, "\n")
}

const helpText = `vublk top: what each export of a vublk daemon does, since the sample before

  n s i r w 5 9 d c e   sort by name, state, IOPS, read, write, p50, p99, depth, CPU, errors; again: the other way round
  R                     the other way round
  a                     hide exports that do nothing, or show them
  p, space              stop the table, go on
  up down pgup pgdown   further up, further down; g and G: to the ends
  h, ?                  this page, or back
  q, esc                leave

  P50, P99   latency, from fetching a request to telling the driver: upper bounds, at most 12.5 % too high
  DEPTH      requests in flight, on average
  CPU/IO     time of a worker for a request, its polling included; of a worker that serves several exports each has its share
  ERR/s      requests a second that were answered with an error; "broken": a guest broke a queue of it`
