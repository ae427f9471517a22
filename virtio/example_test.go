package virtio_test

import (
	"bytes"
	"fmt"
	"runtime/debug"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// check ends an example; a program returns its errors.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// A device that answers in capital letters, and a driver that asks it something.
func Example() {
	// The driver's side: a guest's memory with a queue in it.
	guest, err := virtiotest.NewMemory(virtiotest.RAM(1 << 20))
	check(err)
	driver, err := virtiotest.NewDriver(guest, virtiotest.Options{Size: 16, Features: virtio.FeatureVersion1})
	check(err)
	question, err := guest.Alloc(64, 1)
	check(err)
	guest.Write(question, []byte("is anybody there?"))
	_, err = driver.Add(virtiotest.Request{
		Readable: []virtiotest.Area{{GPA: question, Len: 17}},
		Writable: []virtiotest.Area{{GPA: question + 17, Len: 40}},
	})
	check(err)
	_, err = driver.Publish()
	check(err)

	// The device's side. A transport has received the memory and the configuration: here they come from the driver.
	table, err := guest.Table()
	check(err)
	config, err := driver.Config(table)
	check(err)
	queue, err := virtio.Activate(config)
	check(err)
	queue.SetEnabled(true)
	check(shout(queue, virtio.NewChain()))
	base, err := queue.Stop() // with nothing in flight
	check(err)
	fmt.Println("the next chain is number", base)
	check(queue.Close())
	table.Release()

	// And what the driver sees.
	answer, ok, err := driver.Reap()
	check(err)
	fmt.Println(ok, answer.Len, "bytes:", string(guest.Bytes(question+17, uint64(answer.Len))))
	check(driver.Close())
	check(guest.Close())
	// Output:
	// the next chain is number 1
	// true 17 bytes: IS ANYBODY THERE?
}

// shout serves all that the driver has made available, and tells it once. The guard is for guest memory that vanishes: an error
// then, and not the end of the process.
func shout(queue *virtio.Queue, chain *virtio.Chain) (err error) {
	defer guestmem.Recover(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	for {
		more, err := queue.Next(chain)
		if err != nil { // a *virtio.ChainError: the queue is broken
			return err
		}
		if !more {
			break
		}
		asked := make([]byte, min(chain.ReadableLen, 64)) // the guest decides how much it sends, and we how much we take
		guestmem.CopyIn(asked, chain.Readable)
		written := guestmem.CopyOut(chain.Writable, bytes.ToUpper(asked))
		queue.Push(chain.Token, uint32(written))
	}
	_, err = queue.Publish()
	return err
}
