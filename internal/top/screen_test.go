package top

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/pkg/errors"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

// fleet is a sample of n exports, of which export i answers i requests for each of turns.
func fleet(n int, turns uint64) *vublkv1.StatsResponse {
	s := &vublkv1.StatsResponse{TimeUnixNs: int64(turns) * int64(time.Second), Workers: []*vublkv1.WorkerStats{worker(time.Duration(turns), 0, 0)}}
	for i := range uint64(n) {
		q := queue(0, 0, operation(i*turns, i*turns*512, 1000*(i+1), i*turns), nil)
		s.Exports = append(s.Exports, &vublkv1.ExportStats{
			Name: fmt.Sprintf("disk-%03d", i), State: vublkv1.State_STATE_ATTACHED, Total: q, Queues: []*vublkv1.QueueStats{q},
		})
	}
	return s
}

// sgr are the sequences that make text bold, turned, faint or red.
var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// plain is the text on the screen.
func plain(s *Screen) string { return sgr.ReplaceAllString(s.text(), "") }

// shown are the names on the screen, from above.
func shown(s *Screen) (names []string) {
	for _, l := range strings.Split(plain(s), "\n") {
		if f := strings.Fields(l); len(f) > 1 && strings.HasPrefix(f[0], "disk-") {
			names = append(names, f[0])
		}
	}
	return names
}

func press(t *testing.T, s *Screen, keys ...string) {
	t.Helper()
	named := map[string]rune{"down": tea.KeyDown, "up": tea.KeyUp, "pgdown": tea.KeyPgDown, "end": tea.KeyEnd, "home": tea.KeyHome}
	for _, k := range keys {
		m := tea.Key{Text: k}
		if code, ok := named[k]; ok {
			m = tea.Key{Code: code}
		}
		if _, quit := s.Update(tea.KeyPressMsg(m)); quit != nil {
			t.Fatalf("key %q leaves", k)
		}
	}
}

func fleetScreen(n int) *Screen {
	s := NewScreen("/run/vublk/control.sock", "iops")
	s.Update(tea.WindowSizeMsg{Width: 110, Height: 16})
	s.Update(Sample{Stats: fleet(n, 1)})
	s.Update(Sample{Stats: fleet(n, 2)})
	return s
}

func TestScreenSorts(t *testing.T) {
	s := fleetScreen(5)
	up := []string{"disk-000", "disk-001", "disk-002", "disk-003", "disk-004"}
	down := slices.Clone(up)
	slices.Reverse(down)
	for _, step := range []struct {
		keys []string
		want []string
	}{
		{nil, down},                // by IOPS
		{[]string{"i"}, up},        // the other way round
		{[]string{"n"}, up},        // by name
		{[]string{"n"}, down},      //
		{[]string{"9"}, down},      // by p99
		{[]string{"R"}, up},        //
		{[]string{"a"}, up[1:]},    // without the one that does nothing
		{[]string{"a", "r"}, down}, // by what is read
	} {
		press(t, s, step.keys...)
		if got := shown(s); !slices.Equal(got, step.want) {
			t.Errorf("after %v: %v, want %v", step.keys, got, step.want)
		}
	}
}

func TestScreenScrolls(t *testing.T) {
	s := fleetScreen(1000)
	press(t, s, "n")
	first := func() string { return shown(s)[0] }
	if n := len(shown(s)); n != s.room() {
		t.Errorf("%d rows on a screen with room for %d", n, s.room())
	}
	for _, step := range []struct{ key, want string }{
		{"down", "disk-001"},
		{"up", "disk-000"},
		{"up", "disk-000"},
		{"pgdown", fmt.Sprintf("disk-%03d", s.room())},
		{"end", fmt.Sprintf("disk-%03d", 1000-s.room())},
		{"down", fmt.Sprintf("disk-%03d", 1000-s.room())},
		{"home", "disk-000"},
	} {
		press(t, s, step.key)
		if got := first(); got != step.want {
			t.Errorf("after %q the first is %s, want %s", step.key, got, step.want)
		}
	}
}

// TestScreenFits wants no line to be longer than the terminal and no more lines than it has, whatever its size.
func TestScreenFits(t *testing.T) {
	s := fleetScreen(50)
	for _, help := range []bool{false, true} {
		s.help = help
		for width := 1; width < 140; width += 7 {
			for height := 1; height < 60; height += 5 {
				s.Update(tea.WindowSizeMsg{Width: width, Height: height})
				lines := strings.Split(plain(s), "\n")
				if len(lines) > height {
					t.Fatalf("%d lines on a terminal of %d", len(lines), height)
				}
				for _, l := range lines {
					if n := utf8.RuneCountInString(l); n > width {
						t.Fatalf("a line of %d cells on a terminal of %d: %q", n, width, l)
					}
				}
			}
		}
	}
}

func TestScreenPauses(t *testing.T) {
	s := fleetScreen(3)
	press(t, s, "p")
	before := s.table
	s.Update(Sample{Stats: fleet(3, 9)})
	if s.table.Span != before.Span || !strings.Contains(plain(s), "paused") {
		t.Error("a paused table changed, or does not say that it is paused")
	}
	press(t, s, "p")
	s.Update(Sample{Stats: fleet(3, 10)})
	if got := s.table.Rows[2].IOPS; got != 2 {
		t.Errorf("IOPS after a pause %v, want 2", got)
	}
}

// TestScreenLosesDaemon wants the last table to stay while there is no daemon, and no difference between two daemons.
func TestScreenLosesDaemon(t *testing.T) {
	s := fleetScreen(3)
	s.Update(Sample{Err: errors.New("no daemon listens")})
	if v := plain(s); !strings.Contains(v, "no daemon listens") || len(shown(s)) != 3 {
		t.Errorf("without a daemon:\n%s", v)
	}
	s.Update(Sample{Stats: fleet(3, 1000)})
	if got := s.table.Rows[2].IOPS; got != 2 {
		t.Errorf("IOPS %v: of two daemons", got)
	}
	if strings.Contains(plain(s), "no daemon") {
		t.Error("the daemon is back, and the screen says that there is none")
	}
}

// TestNameIsHarmless has a name that would take the terminal over.
func TestNameIsHarmless(t *testing.T) {
	s := NewScreen("x", "iops")
	evil := queue(0, 0, operation(1, 1), nil)
	for _, at := range []int64{1, 2e9} {
		s.Update(Sample{Stats: &vublkv1.StatsResponse{TimeUnixNs: at, Exports: []*vublkv1.ExportStats{{Name: "a\x1b[2Jb\nc", Total: evil}}}})
	}
	if v := plain(s); strings.Contains(v, "\x1b[2J") || !strings.Contains(v, "a·[2Jb·c") {
		t.Errorf("the name reaches the terminal as it is: %q", v)
	}
}

func TestQuits(t *testing.T) {
	for _, m := range []tea.KeyPressMsg{{Text: "q"}, {Code: 'c', Mod: tea.ModCtrl}, {Code: tea.KeyEscape}} {
		_, quit := NewScreen("x", "").Update(m)
		if quit == nil {
			t.Fatalf("%v does nothing", m)
		}
		if _, ok := quit().(tea.QuitMsg); !ok {
			t.Errorf("%v does not leave", m)
		}
	}
}

func TestWrite(t *testing.T) {
	table, ok := NewTable(fleet(3, 1), fleet(3, 2))
	if !ok {
		t.Fatal("no table")
	}
	var b strings.Builder
	if err := table.Write(&b, time.Unix(0, 0).UTC(), "p99"); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if len(lines) != 7 || !strings.HasPrefix(lines[0], "1970-01-01T00:00:00Z  3 exports in 1s") || !strings.HasPrefix(lines[2], "disk-002") ||
		!strings.Contains(lines[1], "P99v") || !strings.HasPrefix(lines[4], "disk-000") {
		t.Errorf("table:\n%s", b.String())
	}
	if err := table.Write(&b, time.Now(), "beauty"); err == nil || !strings.Contains(err.Error(), "name, state, iops, read, write, p50, p99, depth, cpu, errors") {
		t.Errorf("a column that is not there: %v", err)
	}
}
