package plot

import (
	"math"

	"github.com/go-analyze/charts/chartdraw"
	"github.com/go-analyze/charts/chartdraw/drawing"
)

// Sizes of text, in points at 92 dpi, which chartdraw takes for granted.
const (
	titleSize = 13
	labelSize = 10
	tickSize  = 9
	minSize   = 8 // of a heading that is made smaller
)

// canvas is a Renderer with words for what a figure is made of.
type canvas struct{ chartdraw.Renderer }

func newCanvas(r chartdraw.Renderer) canvas {
	r.SetDPI(drawing.DefaultDPI)
	r.SetFont(chartdraw.GetDefaultFont())
	return canvas{r}
}

// line draws through points, with gaps where one has no place (a nil).
func (c canvas) line(color drawing.Color, strokeWidth float64, dash []float64, points ...*point) {
	c.SetStrokeColor(color)
	c.SetStrokeWidth(strokeWidth)
	c.SetStrokeDashArray(dash)
	drawn := 0
	for i, p := range points {
		switch {
		case p == nil:
			continue
		case i == 0 || points[i-1] == nil:
			c.MoveTo(p.x, p.y)
		default:
			c.LineTo(p.x, p.y)
			drawn++
		}
	}
	if drawn > 0 {
		c.Stroke()
	}
}

type point struct{ x, y int }

// mark draws the sign of a curve's value: each curve has its own, so that they differ without colours as well.
func (c canvas) mark(s style, p point) {
	c.SetStrokeDashArray(nil)
	c.SetStrokeColor(s.color)
	c.SetStrokeWidth(1.5)
	c.SetFillColor(s.color)
	if s.hollow {
		c.SetFillColor(white)
	}
	const r = 4
	if s.corners == 0 {
		c.Circle(r, p.x, p.y)
		c.FillStroke()
		return
	}
	for i := range s.corners {
		// The first corner is on top; a square stands on its side.
		angle := 2*math.Pi*float64(i)/float64(s.corners) - math.Pi/2
		if s.corners == 4 {
			angle += math.Pi / 4
		}
		x, y := p.x+int(math.Round(1.3*r*math.Cos(angle))), p.y+int(math.Round(1.3*r*math.Sin(angle)))
		if i == 0 {
			c.MoveTo(x, y)
		} else {
			c.LineTo(x, y)
		}
	}
	c.Close()
	c.FillStroke()
}

// How text lies at the point it is given.
type anchor int

const (
	left anchor = iota
	center
	right
)

// text writes s with the middle of its letters at height y.
func (c canvas) text(s string, size float64, x, y int, a anchor) {
	w := c.textWidth(s, size)
	switch a {
	case center:
		x -= w / 2
	case right:
		x -= w
	case left:
	}
	c.Text(s, x, y+int(0.45*size))
}

// heading writes s from x on, smaller when it has more than room pixels, and not all of it when that is not enough.
func (c canvas) heading(s string, size float64, x, y, room int) {
	if w := c.textWidth(s, size); w > room {
		size = max(minSize, size*float64(room)/float64(w))
	}
	for c.textWidth(s, size) > room {
		runes := []rune(s)
		s = string(runes[:len(runes)-2]) + "…"
	}
	c.text(s, size, x, y, left)
}

// upright writes s from below to above, with its middle at (x, y).
func (c canvas) upright(s string, size float64, x, y int) {
	w := c.textWidth(s, size)
	c.SetTextRotation(-math.Pi / 2)
	c.Text(s, x+int(0.45*size), y+w/2)
	c.ClearTextRotation()
}

func (c canvas) textWidth(s string, size float64) int {
	c.SetFontColor(black)
	c.SetFontSize(size)
	return c.MeasureText(s).Width()
}
