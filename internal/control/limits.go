package control

import "time"

// Limits bound what all clients together may cost. The zero value of a field means its default.
type Limits struct {
	Connections      int           // 256; the longest idle one makes room for another
	PerUser          int           // 64: connections of one user who is neither root nor the daemon's own
	Calls            int           // 512: calls that run
	CallsPerClient   int           // 64: of one connection
	Streams          int           // 128: of the calls, WatchStats and Events
	StreamsPerClient int           // 16: of one connection
	Frame            int           // 1 MiB: bytes of a request
	FrameTime        time.Duration // 10 s: from the first byte of a request to its last
	WriteTime        time.Duration // 30 s: until a client reads something of what is sent
}

// waiting is how many requests of a connection may wait beside those that run, until no more are read: for an answer that
// there are too many, or for the client to read its answer.
const waiting = 64

func (l Limits) withDefaults() Limits {
	number := func(n *int, byDefault int) {
		if *n == 0 {
			*n = byDefault
		}
	}
	number(&l.Connections, 256)
	number(&l.PerUser, 64)
	number(&l.Calls, 512)
	number(&l.CallsPerClient, 64)
	number(&l.Streams, 128)
	number(&l.StreamsPerClient, 16)
	number(&l.Frame, 1<<20)
	if l.FrameTime == 0 {
		l.FrameTime = 10 * time.Second
	}
	if l.WriteTime == 0 {
		l.WriteTime = 30 * time.Second
	}
	return l
}
