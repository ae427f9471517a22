package manual

import (
	"fmt"
	"regexp"
	"strings"
)

// roff is a page that is being written, in the man(7) macros.
type roff struct{ b strings.Builder }

// lineWidth is how long a line of the source may be; mandoc's lint begins to complain at 80.
const lineWidth = 76

// glyphs are the characters that troff would turn into typographic ones, or takes for its own.
var glyphs = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `~`, `\(ti`, `^`, `\(ha`, "`", `\(ga`, `'`, `\(aq`, `"`, `\(dq`)

// escape makes text mean itself.
func escape(text string) string {
	var b strings.Builder
	for _, r := range glyphs.Replace(text) {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}

// option is an option in the midst of text.
var option = regexp.MustCompile(`(^|[^\w-])(--[a-z][a-z-]*[a-z])`)

// emphasize is escape, with options in bold.
func emphasize(text string) string {
	return strings.NewReplacer("\x01", `\fB`, "\x02", `\fR`).Replace(escape(option.ReplaceAllString(text, "$1\x01$2\x02")))
}

// line writes one line of the source, which must not be taken for a macro.
func (r *roff) line(text string) {
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	r.b.WriteString(text + "\n")
}

func (r *roff) macro(name string, args ...string) {
	r.b.WriteString("." + name)
	for _, a := range args {
		r.b.WriteString(` "` + escape(a) + `"`)
	}
	r.b.WriteByte('\n')
}

// fill writes running text.
func (r *roff) fill(text string) {
	line := ""
	for _, word := range strings.Fields(text) {
		word = emphasize(word)
		if line != "" && len(line)+1+len(word) > lineWidth {
			r.line(line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	r.line(line)
}

// term writes a term with what it means below.
func (r *roff) term(term, text string) {
	r.macro("TP")
	r.line(term)
	r.fill(text)
}

// verbatim writes lines as they are.
func (r *roff) verbatim(lines []string) {
	r.macro("RS", "4")
	r.macro("nf")
	for _, l := range lines {
		r.line(escape(l))
	}
	r.macro("fi")
	r.macro("RE")
}

// text writes paragraphs, which empty lines separate. An indented line is written as it is, "TERM\n: MEANING" as a term.
// first tells whether a heading stands right before: no paragraph macro may follow it.
func (r *roff) text(text string, first bool) {
	for _, block := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		lines := strings.Split(strings.TrimRight(block, "\n"), "\n")
		for len(lines) > 0 {
			n := len(lines)
			switch {
			case strings.HasPrefix(lines[0], "  "):
				n = runOf(lines, func(l string) bool { return strings.HasPrefix(l, "  ") })
				r.verbatim(outdent(lines[:n]))
			case n > 1 && strings.HasPrefix(lines[1], ": "):
				r.term(`\fB`+escape(lines[0])+`\fR`, strings.TrimPrefix(strings.Join(lines[1:], " "), ": "))
			default:
				n = runOf(lines, func(l string) bool { return !strings.HasPrefix(l, "  ") })
				if !first {
					r.macro("PP")
				}
				r.fill(strings.Join(lines[:n], " "))
			}
			lines, first = lines[n:], false
		}
	}
}

// runOf counts the lines at the beginning that are like the first one.
func runOf(lines []string, like func(string) bool) int {
	n := 0
	for n < len(lines) && like(lines[n]) {
		n++
	}
	return n
}

// outdent takes the indentation of the first line from all.
func outdent(lines []string) []string {
	indent := lines[0][:len(lines[0])-len(strings.TrimLeft(lines[0], " "))]
	out := make([]string, 0, len(lines))
	for _, l := range lines {
		out = append(out, strings.TrimPrefix(l, indent))
	}
	return out
}
