package cli

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// logBacklog is how many lines wait for a reader of the log before lines are lost. A thousand exports that start together
// write two each.
const logBacklog = 4096

// logPatience is how long the end of the process waits for a reader of stderr.
const logPatience = time.Second

// logWriter lets nobody who logs wait for whoever reads the log: a full pipe must stop neither a guest's disk nor
// SIGTERM. Lines that find no room are lost and counted. A goroutine writes the others, and the count in its place.
// Any goroutine may call Write and close.
type logWriter struct {
	w     io.Writer
	count func(lost uint64) []byte // the line that says so

	mu     sync.Mutex
	closed bool
	lost   uint64 // since the last line that found room
	lines  chan logLine
	ended  chan struct{}
}

// logLine is a line, and how many were lost before it.
type logLine struct {
	text []byte
	lost uint64
}

func newLogWriter(w io.Writer, count func(lost uint64) []byte) *logWriter {
	l := &logWriter{w: w, count: count, lines: make(chan logLine, logBacklog), ended: make(chan struct{})}
	go l.run()
	return l
}

// Write implements io.Writer; it takes b, which is whole lines, or loses it. It does not block.
func (l *logWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return len(b), nil
	}
	select {
	case l.lines <- logLine{text: bytes.Clone(b), lost: l.lost}:
		l.lost = 0
	default:
		l.lost++
	}
	return len(b), nil
}

func (l *logWriter) run() {
	defer close(l.ended)
	for line := range l.lines {
		l.write(line)
	}
	l.mu.Lock()
	rest := l.lost
	l.mu.Unlock()
	l.write(logLine{lost: rest})
}

// write has nobody to tell of an error: this was the log.
func (l *logWriter) write(line logLine) {
	if line.lost > 0 {
		_, _ = l.w.Write(l.count(line.lost))
	}
	if len(line.text) > 0 {
		_, _ = l.w.Write(line.text)
	}
}

// close waits until everything is written, but no longer than patience. What is logged later is lost.
func (l *logWriter) close(patience time.Duration) {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.lines)
	}
	l.mu.Unlock()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-l.ended:
	case <-timeout.C:
	}
}
