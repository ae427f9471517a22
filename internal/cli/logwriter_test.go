package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// Nobody reads: writers go on. Somebody reads again: what found room is there, in order, with the number of the others.
func TestLogWriterLosesLinesRatherThanTime(t *testing.T) {
	r, w := io.Pipe()
	log, closeLog := DefaultLog().open(w)
	const surplus = 100
	for i := range logBacklog + surplus {
		log.Info("line", "n", i)
	}
	read := make(chan string)
	go func() {
		var text strings.Builder
		for lines := bufio.NewReader(r); !strings.Contains(text.String()[max(0, text.Len()-100):], "were lost"); {
			line, err := lines.ReadString('\n')
			if text.WriteString(line); err != nil {
				break
			}
		}
		read <- text.String()
	}()
	closeLog() // on a busy machine it does not wait until all is read
	log.Info("too late")
	text := <-read
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	// One line may have been on its way beside the backlog.
	for _, lost := range []int{surplus, surplus - 1} {
		kept := logBacklog + surplus - lost
		if len(lines) == kept+1 && strings.Contains(lines[kept-1], fmt.Sprintf("n=%d", kept-1)) &&
			strings.Contains(lines[kept], fmt.Sprintf("level=ERROR msg=\"%d log lines were lost", lost)) {
			return
		}
	}
	t.Fatalf("%d lines, the last are\n%s", len(lines), strings.Join(lines[len(lines)-3:], "\n"))
}

// The number of lost lines stands where they were lost.
func TestLogWriterCountsInPlace(t *testing.T) {
	var b bytes.Buffer
	l := newLogWriter(&b, func(lost uint64) []byte { return fmt.Appendf(nil, "(%d)", lost) })
	l.lines <- logLine{text: []byte("a")}
	l.lines <- logLine{text: []byte("b"), lost: 3}
	l.close(time.Minute)
	l.close(time.Minute) // changes nothing
	if b.String() != "a(3)b" {
		t.Fatal(b.String())
	}
}

// A log that nobody reads at all does not keep the process from ending.
func TestLogWriterEndsUnread(t *testing.T) {
	r, w := io.Pipe()
	l := newLogWriter(w, func(uint64) []byte { return nil })
	_, _ = io.WriteString(l, "line")
	l.close(time.Millisecond)
	select {
	case <-l.ended:
		t.Fatal("written to nobody")
	default:
	}
	if err := r.Close(); err != nil { // the write fails now
		t.Fatal(err)
	}
	<-l.ended
}
