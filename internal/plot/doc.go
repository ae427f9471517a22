// Package plot draws curves over a common horizontal axis of powers of two, as SVG or PNG: what a sweep over queue
// depths needs, and nothing more. The primitives, the font and the two formats are chartdraw's; the axes, the ticks and
// the layout are here, so that they suit such a sweep.
//
// A Figure is plain data. Nothing is shared between calls.
//
// Read next: figure.go, then draw.go.
package plot
