package virtio_test

import (
	"bytes"
	"runtime/debug"
	"testing"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// echo is a device that answers each chain with a function of what it read.
type echo struct {
	queue *virtio.Queue
	chain *virtio.Chain
	buf   []byte
}

func newEcho(q *virtio.Queue) *echo {
	return &echo{queue: q, chain: virtio.NewChain(), buf: make([]byte, 1<<20)}
}

// answer is what the device writes into n bytes, given what the driver sent.
func answer(sent []byte, n int) []byte {
	out := make([]byte, n)
	sum := byte(len(sent))
	for _, b := range sent {
		sum = sum*31 + b
	}
	for i := range out {
		out[i] = sum + byte(i)*7
	}
	return out
}

// turn serves up to budget chains and publishes. It returns how many there were.
func (e *echo) turn(budget int) (n int, err error) {
	defer guestmem.Recover(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	for ; n < budget; n++ {
		ok, err := e.queue.Next(e.chain)
		if err != nil || !ok {
			return n, err
		}
		e.queue.Push(e.chain.Token, e.serve())
	}
	return n, nil
}

// serve answers the chain just fetched and returns how much it wrote.
func (e *echo) serve() uint32 {
	c := e.chain
	sent := e.buf[:guestmem.CopyIn(e.buf, c.Readable)]
	return uint32(guestmem.CopyOut(c.Writable, answer(sent, int(c.WritableLen))))
}

func checkAnswer(t testing.TB, sent, got []byte) {
	t.Helper()
	if want := answer(sent, len(got)); !bytes.Equal(got, want) {
		t.Fatalf("sent %d bytes, got an answer of %d that is wrong", len(sent), len(got))
	}
}
