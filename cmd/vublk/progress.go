package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/export"
)

// progress shows how far long work has come.
type progress interface {
	begin(total int64)
	add(n int64)
	end()
}

// newProgress shows a bar on a terminal, and lines elsewhere.
func newProgress(f *os.File) progress {
	if isTerminal(f) {
		return &bar{w: f, what: "preallocating", bytes: true}
	}
	return &lines{w: f, every: 2 * time.Second}
}

// newSweepProgress shows a bar on a terminal, of work that is counted in nanoseconds, and nothing elsewhere.
func newSweepProgress(f *os.File) progress {
	if isTerminal(f) {
		return &bar{w: f, what: "measuring"}
	}
	return quiet{}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// quiet shows nothing.
type quiet struct{}

func (quiet) begin(int64) {}
func (quiet) add(int64)   {}
func (quiet) end()        {}

// bar is a progress bar.
type bar struct {
	w     io.Writer
	what  string
	bytes bool // what is counted
	bar   *progressbar.ProgressBar
}

func (b *bar) begin(total int64) {
	b.bar = progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(b.w), progressbar.OptionSetDescription(b.what),
		progressbar.OptionShowBytes(b.bytes), progressbar.OptionUseIECUnits(true), progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
}

// What the terminal answers is of no interest: the work goes on without a bar.
func (b *bar) add(n int64) { _ = b.bar.Add64(n) }
func (b *bar) end()        { _ = b.bar.Clear() }

// lines writes a line now and then; quick work writes none.
type lines struct {
	w     io.Writer
	every time.Duration

	total, done int64
	last        time.Time
}

func (l *lines) begin(total int64) { l.total, l.last = total, time.Now() }
func (l *lines) end()              {}

func (l *lines) add(n int64) {
	l.done += n
	if time.Since(l.last) < l.every {
		return
	}
	l.last = time.Now()
	_, _ = fmt.Fprintf(l.w, "preallocating: %d%% of %s\n", percent(l.done, l.total), export.FormatSize(l.total))
}

// percent does not overflow.
func percent(done, total int64) int64 { return int64(float64(done) / float64(total) * 100) }
