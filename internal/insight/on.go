//go:build insight

package insight

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"time"
)

// Begin begins to listen, when the variable says so.
func Begin() {
	path := os.Getenv(Variable)
	if path == "" {
		return
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		panic("insight: " + err.Error()) // a test build, started wrongly
	}
	var c collector
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.serve(conn)
		}
	}()
}

// collector forces collections.
type collector struct {
	done atomic.Int64
	stop chan struct{} // nil: none runs
}

func (c *collector) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return
	}
	order, argument, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch order {
	case "collect":
		err = c.every(argument)
		_, _ = fmt.Fprintln(conn, c.done.Load())
	case "objects":
		runtime.GC() // the counts of each P are summed up then
		_, _ = fmt.Fprintln(conn, number("/gc/heap/allocs:objects"))
	case "live":
		runtime.GC()
		_, _ = fmt.Fprintln(conn, number("/memory/classes/heap/objects:bytes"))
	case "heap":
		err = heap(conn)
	}
	if err != nil {
		panic("insight: " + err.Error())
	}
}

func (c *collector) every(text string) error {
	if c.stop != nil {
		close(c.stop)
		c.stop = nil
	}
	pause, err := time.ParseDuration(text)
	if err != nil || pause == 0 {
		return err
	}
	stop := make(chan struct{})
	c.stop = stop
	go func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				runtime.GC()
				c.done.Add(1)
			case <-stop:
				return
			}
		}
	}()
	return nil
}

// number reads a metric of the runtime.
func number(name string) uint64 {
	samples := []metrics.Sample{{Name: name}}
	metrics.Read(samples)
	return samples[0].Value.Uint64()
}

// heap writes what is live, exactly as of now.
func heap(w io.Writer) error {
	runtime.GC()
	return pprof.Lookup("heap").WriteTo(w, 0)
}
