package metrics

import (
	"net"
	"slices"
	"sync"
)

// limit is a listener that has n connections at most: one more, and the oldest is closed. Who scrapes is done in
// milliseconds, so the oldest of many is one that hangs.
func limit(l net.Listener, n int) *limited { return &limited{Listener: l, most: n} }

type limited struct {
	net.Listener
	most int

	mu    sync.Mutex
	conns []*limitedConn // in the order of their arrival
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	one := &limitedConn{Conn: c, of: l}
	l.mu.Lock()
	l.conns = append(l.conns, one)
	var oldest *limitedConn
	if len(l.conns) > l.most {
		oldest = l.conns[0]
		l.conns = slices.Delete(l.conns, 0, 1)
	}
	l.mu.Unlock()
	if oldest != nil {
		_ = oldest.Conn.Close() // the server notices, and closes it once more
	}
	return one, nil
}

// open is how many connections there are.
func (l *limited) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

type limitedConn struct {
	net.Conn
	of *limited
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	c.of.mu.Lock()
	c.of.conns = slices.DeleteFunc(c.of.conns, func(other *limitedConn) bool { return other == c })
	c.of.mu.Unlock()
	return c.Conn.Close()
}
