package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image/png"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/go-analyze/charts/chartdraw"
	"github.com/go-analyze/charts/chartdraw/drawing"
	"github.com/pkg/errors"
)

func sample() Figure {
	return Figure{
		Title: "a <title>", Subtitle: "below it", XLabel: "depth", Curves: []string{"one & two", "three", "four"},
		X: []float64{1, 2, 4, 8},
		Panels: []Panel{
			{
				YLabel: "IOPS", Y: [][]float64{{1e5, 2e5, 4e5, 8e5}, {1e5, 1e5, 1e5, 1e5}, {5e5, 5e5, 5e5, 5e5}},
				Tick: func(v float64) string { return fmt.Sprintf("%g k", v/1e3) },
			},
			{
				YLabel: "p99", Log: true, Y: [][]float64{{10, math.NaN(), 30, 40}, {11, 0, 31, 41}, {100, 200, 300, 400}},
				Tick: func(v float64) string { return fmt.Sprintf("%g us", v) },
			},
		},
	}
}

func svg(t *testing.T, f Figure) string {
	t.Helper()
	var b bytes.Buffer
	if err := f.SVG(&b); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(b.Bytes())); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return b.String()
		} else if err != nil {
			t.Fatalf("not XML: %v\n%s", err, b.String())
		}
	}
}

func TestSVGSaysEverything(t *testing.T) {
	s := svg(t, sample())
	for _, want := range []string{
		"a &lt;title&gt;", "below it", "one &amp; two", "three", "four", ">depth<", ">IOPS<", ">p99<", ">800 k<", ">0 k<", ">10 us<", ">500 us<", ">8<",
	} {
		if !strings.Contains(s, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if n := strings.Count(s, ">depth<"); n != 2 {
		t.Errorf("%d horizontal axes are named, want 2", n)
	}
}

// circles are the marks of the curves that are drawn with them: the legend's sample first.
func circles(t *testing.T, s, fill string) (points []point) {
	t.Helper()
	for _, m := range regexp.MustCompile(`<circle cx="(\d+)" cy="(\d+)"[^>]*fill:([^"]*)"`).FindAllStringSubmatch(s, -1) {
		x, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		y, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		if m[3] == fill {
			points = append(points, point{x, y})
		}
	}
	return points
}

func TestMarksAreWhereTheirValuesAre(t *testing.T) {
	p := circles(t, svg(t, sample()), "rgb(0,114,178)")
	if len(p) != 1+4+3 { // the NaN has none
		t.Fatalf("%d marks: %v", len(p), p)
	}
	linear, log := p[1:5], p[5:]
	for i := range 3 {
		if step, first := linear[i+1].x-linear[i].x, linear[1].x-linear[0].x; step < first-1 || step > first+1 {
			t.Errorf("depths do not double in equal steps: %v", linear)
		}
	}
	// 800k is 8 times as far from 0 as 100k; 0 and 800k are the ends of the axis.
	if up, all := linear[0].y-linear[3].y, panelHeight*7/8; up < all-1 || up > all+1 {
		t.Errorf("from 100k to 800k are %d pixels, want %d", up, all)
	}
	if log[0].x != linear[0].x || log[1].x != linear[2].x || log[0].y <= log[1].y || log[1].y <= log[2].y {
		t.Errorf("logarithmic marks %v", log)
	}
	// The second curve of that panel has squares, and none for its 0.
	if n := strings.Count(svg(t, sample()), `fill:rgb(213,94,0)`); n != 1+4+3 {
		t.Errorf("%d squares", n)
	}
}

// text finds labels and where they begin.
var text = regexp.MustCompile(`<text x="(-?\d+)" y="(\d+)"[^>]*>([^<]*)</text>`)

func TestLabelsOfManyValuesDoNotOverlap(t *testing.T) {
	f := sample()
	f.X, f.Curves, f.Panels = nil, f.Curves[:1], f.Panels[:1]
	f.Panels[0].Y = [][]float64{nil}
	for x := range 100 {
		f.X = append(f.X, float64(x+1))
		f.Panels[0].Y[0] = append(f.Panels[0].Y[0], 1)
	}
	end, labels := -1, 0
	for _, m := range text.FindAllStringSubmatch(svg(t, f), -1) {
		x, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		if m[2] != strconv.Itoa(f.head()+panelHeight+16+4) { // not below the axis
			continue
		}
		if labels++; x <= end {
			t.Errorf("%s begins at %d, before %d", m[3], x, end)
		}
		end = x + 6*len(m[3])
	}
	if labels < 7 || labels > 99 {
		t.Errorf("%d labels", labels)
	}
}

func TestHeadingsFit(t *testing.T) {
	f := sample()
	f.Title, f.Subtitle = strings.Repeat("wide ", 20), strings.Repeat("W", 300)
	s := svg(t, f)
	if !strings.Contains(s, f.Title) || strings.Contains(s, f.Subtitle) {
		t.Error("the title fits when it is smaller, the line below does not")
	}
	c := newCanvas(chartdraw.SVG(width, width))
	for _, m := range regexp.MustCompile(`<text x="(\d+)"[^>]*font-size:([0-9.]+)px[^>]*>((?:wide|W)[^<]*)<`).FindAllStringSubmatch(s, -1) {
		pixels, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		if end := marginLeft + c.textWidth(m[3], pixels*72/drawing.DefaultDPI); end > width-marginRight+2 {
			t.Errorf("%q of %v pixels ends at %d", m[3], pixels, end)
		}
		f.Title = "" // seen
	}
	if f.Title != "" {
		t.Error("no heading found")
	}
}

func TestPNG(t *testing.T) {
	f := sample()
	var b bytes.Buffer
	if err := f.PNG(&b); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	if size := img.Bounds().Size(); size.X != width || size.Y != f.height() {
		t.Errorf("%v", size)
	}
	seen := map[[3]uint32]bool{}
	for y := range f.height() {
		for x := range width {
			r, g, b, _ := img.At(x, y).RGBA()
			seen[[3]uint32{r >> 8, g >> 8, b >> 8}] = true
		}
	}
	for i := range f.Curves {
		c := styleOf(i).color
		if !seen[[3]uint32{uint32(c.R), uint32(c.G), uint32(c.B)}] {
			t.Errorf("curve %d has left no trace", i)
		}
	}
}

func TestFigureRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Figure){
		"nothing":         func(f *Figure) { f.X = nil },
		"depth 0":         func(f *Figure) { f.X[0] = 0 },
		"no depth":        func(f *Figure) { f.X[0] = math.NaN() },
		"a curve missing": func(f *Figure) { f.Panels[0].Y = f.Panels[0].Y[1:] },
		"a value missing": func(f *Figure) { f.Panels[1].Y[0] = f.Panels[1].Y[0][1:] },
	} {
		f := sample()
		spoil(&f)
		var b bytes.Buffer
		if err := f.SVG(&b); err == nil || b.Len() > 0 {
			t.Errorf("%s: error %v, %d bytes", name, err, b.Len())
		}
	}
}
