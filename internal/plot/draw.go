package plot

import (
	"math"
	"strconv"

	"github.com/go-analyze/charts/chartdraw/drawing"
)

// The layout, in pixels.
const (
	width       = 900
	panelHeight = 270 // of the area with curves
	marginLeft  = 110
	marginRight = 30
	marginTop   = 22
	lineHeight  = 24
	below       = 62 // a panel: ticks and the axis' name
	legendGap   = 44 // between two names: the viewer's font may be wider than ours
	legendLine  = 34 // the sample of a curve
	tickGap     = 14
)

var (
	white = drawing.Color{R: 255, G: 255, B: 255, A: 255}
	black = drawing.Color{R: 33, G: 37, B: 41, A: 255}
	grid  = drawing.Color{R: 222, G: 226, B: 230, A: 255}
)

// style is how a curve looks.
type style struct {
	color   drawing.Color
	dash    []float64
	corners int // of the mark, 0 is a circle
	hollow  bool
}

// styles are of the first curves; the colours are those of Okabe and Ito, which people with any colour vision tell apart.
var styles = []style{
	{color: drawing.Color{R: 0, G: 114, B: 178, A: 255}},
	{color: drawing.Color{R: 213, G: 94, B: 0, A: 255}, corners: 4},
	{color: drawing.Color{R: 86, G: 180, B: 233, A: 255}, dash: []float64{6, 4}, hollow: true},
	{color: drawing.Color{R: 0, G: 158, B: 115, A: 255}, corners: 3, dash: []float64{2, 3}},
	{color: drawing.Color{R: 204, G: 121, B: 167, A: 255}, corners: 4, hollow: true},
	{color: black, corners: 3, hollow: true},
}

func styleOf(curve int) style { return styles[curve%len(styles)] }

// head is the height of title, subtitle and legend.
func (f *Figure) head() int { return marginTop + 3*lineHeight }

func (f *Figure) height() int { return f.head() + len(f.Panels)*(panelHeight+below) }

func (f *Figure) draw(c canvas) {
	c.SetFillColor(white)
	c.MoveTo(0, 0)
	c.LineTo(width, 0)
	c.LineTo(width, f.height())
	c.LineTo(0, f.height())
	c.Close()
	c.Fill()
	c.heading(f.Title, titleSize, marginLeft, marginTop, width-marginLeft-marginRight)
	c.heading(f.Subtitle, labelSize, marginLeft, marginTop+lineHeight, width-marginLeft-marginRight)
	f.legend(c, marginTop+2*lineHeight)
	for i := range f.Panels {
		f.panel(c, &f.Panels[i], f.head()+i*(panelHeight+below))
	}
}

// legend puts the names beside each other.
func (f *Figure) legend(c canvas, y int) {
	x := marginLeft
	for i, name := range f.Curves {
		s := styleOf(i)
		c.line(s.color, 2, s.dash, &point{x, y}, &point{x + legendLine, y})
		c.mark(s, point{x + legendLine/2, y})
		x += legendLine + tickGap
		c.text(name, labelSize, x, y, left)
		x += c.textWidth(name, labelSize) + legendGap
	}
}

// panel draws one whose area begins at the height top.
func (f *Figure) panel(c canvas, p *Panel, top int) {
	x, y := newXAxis(f.X), p.axis()
	const inset = 14 // so that no mark lies on the frame
	x.from, x.to = marginLeft+inset, width-marginRight-inset
	y.from, y.to = float64(top+panelHeight), float64(top)
	f.grid(c, p, &x, &y, top)
	for i, values := range p.Y {
		s := styleOf(i)
		points := make([]*point, len(values))
		for k, v := range values {
			if y.drawable(v) {
				points[k] = &point{pixel(x.at(f.X[k])), pixel(y.at(v))}
			}
		}
		c.line(s.color, 2, s.dash, points...)
		for _, at := range points {
			if at != nil {
				c.mark(s, *at)
			}
		}
	}
}

func (p *Panel) axis() axis {
	var all []float64
	for _, ys := range p.Y {
		for _, y := range ys {
			if !math.IsNaN(y) && !math.IsInf(y, 0) && (y > 0 || !p.Log) {
				all = append(all, y)
			}
		}
	}
	if p.Log {
		return logarithmic(all)
	}
	return linear(all)
}

// grid draws what is behind the curves, and the axes' ticks and names.
func (f *Figure) grid(c canvas, p *Panel, x, y *axis, top int) {
	const l, r = marginLeft, width - marginRight
	bottom := top + panelHeight
	for _, v := range y.ticks {
		at := pixel(y.at(v))
		c.line(grid, 1, nil, &point{l, at}, &point{r, at})
		c.text(p.Tick(v), tickSize, l-tickGap, at, right)
	}
	free := 0 // to the left of it something is written
	for _, v := range x.ticks {
		at, label := pixel(x.at(v)), strconv.FormatFloat(v, 'g', -1, 64)
		c.line(grid, 1, nil, &point{at, top}, &point{at, bottom})
		if half := c.textWidth(label, tickSize) / 2; at-half >= free {
			c.text(label, tickSize, at, bottom+16, center)
			free = at + half + tickGap
		}
	}
	c.line(black, 1, nil, &point{l, top}, &point{l, bottom}, &point{r, bottom})
	c.text(f.XLabel, labelSize, (l+r)/2, bottom+38, center)
	c.upright(p.YLabel, labelSize, 18, (top+bottom)/2)
}

func pixel(v float64) int { return int(math.Round(v)) }
