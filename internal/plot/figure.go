package plot

import (
	"io"
	"math"

	"github.com/go-analyze/charts/chartdraw"
	"github.com/pkg/errors"
)

// Figure is panels, one below the other, over the same horizontal axis.
type Figure struct {
	Title    string
	Subtitle string // a smaller line below the title
	XLabel   string
	Curves   []string // names, for the legend; the same ones in each panel
	X        []float64
	Panels   []Panel
}

// Panel has one vertical axis.
type Panel struct {
	YLabel string
	// Y are the values at Figure.X of each of Figure.Curves. One that is not a finite number is left out.
	Y [][]float64
	// Log makes the axis logarithmic; values must be greater than 0 then. Else it is linear and begins at 0.
	Log bool
	// Tick writes a value beside the axis.
	Tick func(float64) string
}

// SVG writes the figure as SVG. Text is text there, set in whatever sans-serif font the viewer has.
func (f *Figure) SVG(w io.Writer) error { return f.write(w, chartdraw.SVG) }

// PNG writes the figure as PNG.
func (f *Figure) PNG(w io.Writer) error { return f.write(w, chartdraw.PNG) }

func (f *Figure) write(w io.Writer, format chartdraw.RendererProvider) error {
	if err := f.check(); err != nil {
		return err
	}
	c := newCanvas(format(width, f.height()))
	f.draw(c)
	return errors.Wrap(c.Save(w), "write the plot")
}

func (f *Figure) check() error {
	if len(f.X) == 0 || len(f.Curves) == 0 || len(f.Panels) == 0 {
		return errors.New("plot: nothing to draw")
	}
	for _, x := range f.X {
		if !(x > 0) || math.IsInf(x, 0) {
			return errors.Errorf("plot: %v has no place on a logarithmic axis", x)
		}
	}
	for _, p := range f.Panels {
		if len(p.Y) != len(f.Curves) {
			return errors.Errorf("plot: %s: %d curves, want %d", p.YLabel, len(p.Y), len(f.Curves))
		}
		for i, ys := range p.Y {
			if len(ys) != len(f.X) {
				return errors.Errorf("plot: %s of %s: %d values, want %d", p.YLabel, f.Curves[i], len(ys), len(f.X))
			}
		}
	}
	return nil
}
