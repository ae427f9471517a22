// Command screenshot draws what a terminal shows, as tmux captures it with its colours, as SVG:
//
//	tmux capture-pane -e -p -t SESSION | go run ./test/screenshot -title='vublk top' >docs/images/top.svg
//
// It knows what `vublk top` uses: bold, faint, reverse, and the eight colours of a terminal's text.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"html"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/pkg/errors"
)

func main() {
	title := flag.String("title", "", "what the picture is of")
	flag.Parse()
	if err := draw(os.Stdout, os.Stdin, *title); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "screenshot:", err)
		os.Exit(1)
	}
}

// Sizes in pixels: of a character, its line, and what is around all of them.
const (
	cellWidth, lineHeight, border = 8, 18, 12
	baseline                      = 13 // from the top of a line
	background, foreground        = "#1b1e24", "#d7dae0"
)

var colours = [...]string{"#5c6370", "#ff6b6b", "#7bd88f", "#f5d76e", "#6cb6ff", "#d299ff", "#66d9e8", "#ffffff"}

// style is how a character looks (ECMA-48, SGR).
type style struct {
	bold, faint, reverse bool
	colour               string // "": the terminal's
}

// span is a part of a line in one style.
type span struct {
	style
	text string
}

func draw(w io.Writer, r io.Reader, title string) error {
	var screen [][]span
	columns := 0
	var now style
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var spans []span
		spans, now = parse(lines.Text(), now)
		width := 0
		for _, s := range spans {
			width += utf8.RuneCountInString(s.text)
		}
		columns = max(columns, width)
		screen = append(screen, spans)
	}
	if err := lines.Err(); err != nil {
		return errors.WithStack(err)
	}
	for len(screen) > 0 && len(screen[len(screen)-1]) == 0 {
		screen = screen[:len(screen)-1]
	}
	var b strings.Builder
	width, height := columns*cellWidth+2*border, len(screen)*lineHeight+2*border
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d"><title>%s</title>`+"\n",
		width, height, width, height, html.EscapeString(title))
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="6" fill="%s"/>`+"\n", background)
	b.WriteString(`<g font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="13" xml:space="preserve">` + "\n")
	for y, spans := range screen {
		x := border
		for _, s := range spans {
			x += s.draw(&b, x, border+y*lineHeight)
		}
	}
	b.WriteString("</g></svg>\n")
	_, err := io.WriteString(w, b.String())
	return errors.WithStack(err)
}

// draw writes a span whose corner is at x, y, and returns its width.
func (s span) draw(b *strings.Builder, x, y int) int {
	width := utf8.RuneCountInString(s.text) * cellWidth
	fill, behind := foreground, ""
	if s.colour != "" {
		fill = s.colour
	}
	if s.reverse {
		fill, behind = background, fill
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`, x, y, width, lineHeight, behind)
	}
	if strings.TrimSpace(s.text) != "" {
		more := ""
		if s.bold {
			more += ` font-weight="bold"`
		}
		if s.faint {
			more += ` opacity="0.6"`
		}
		fmt.Fprintf(b, `<text x="%d" y="%d" textLength="%d" fill="%s"%s>%s</text>`+"\n", x, y+baseline, width, fill, more, html.EscapeString(s.text))
	}
	return width
}

// parse cuts a line where its style changes, which goes on to the next line.
func parse(line string, now style) ([]span, style) {
	var spans []span
	for line != "" {
		text, rest, found := strings.Cut(line, "\x1b[")
		if text != "" {
			spans = append(spans, span{now, text})
		}
		if line = rest; !found {
			break
		}
		end := strings.IndexFunc(line, func(r rune) bool { return r >= '@' && r <= '~' })
		if end < 0 {
			break
		}
		if line[end] == 'm' {
			now = now.with(line[:end])
		}
		line = line[end+1:]
	}
	return spans, now
}

func (s style) with(parameters string) style {
	for _, p := range strings.Split(parameters, ";") {
		switch {
		case p == "" || p == "0":
			s = style{}
		case p == "1":
			s.bold = true
		case p == "2":
			s.faint = true
		case p == "7":
			s.reverse = true
		case p == "22":
			s.bold, s.faint = false, false
		case p == "27":
			s.reverse = false
		case p == "39":
			s.colour = ""
		case len(p) == 2 && (p[0] == '3' || p[0] == '9') && p[1] >= '0' && p[1] <= '7':
			s.colour = colours[p[1]-'0']
		}
	}
	return s
}
