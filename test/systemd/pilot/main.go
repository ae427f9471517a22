// Command pilot is a guest with a disk, in a machine of which systemd is the first process: a front-end that cannot
// reconnect, and a driver that keeps its queues busy and checks what it reads.
//
//	pilot SOCKET           works until SIGTERM, then reads the whole disk and ends
//	pilot fill N LENGTH    is a service of its own: has systemd keep N descriptors under names of LENGTH bytes, and tells what
//	                       it has been given
//
// Its first line tells its process ID: from then on it hears signals. On SIGUSR1 it writes a line with what has happened since
// the last one: requests, and the longest time without a completion.
// Exit status 1 tells of a request that failed, of content that is wrong, or of a connection that has ended.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println("pilot:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1:
		return fly(args[0])
	case len(args) == 3 && args[0] == "fill":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		length, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return fill(n, length)
	}
	return errors.New("want SOCKET, or fill N LENGTH")
}

// fly is the life of a guest.
func fly(socket string) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGTERM)
	fmt.Println("pid", os.Getpid())
	f, err := vhostusertest.Connect(socket, vhostusertest.Options{
		Queues: queues, QueueSize: 64, Memory: []guestmem.RegionInfo{virtiotest.RAM(queues * (depth + 1) * (maxSize + 64<<10))},
	})
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	l, err := newLoad(f)
	if err != nil {
		return err
	}
	if err := f.Start(); err != nil {
		return err
	}
	// QEMU sends a queue's eventfd again, too.
	for i := range queues {
		if err := f.Set(vhostuser.RequestSetVringCall, vhostusertest.U64(uint64(i)), f.Queue(i).CallFD()); err != nil {
			return err
		}
	}
	// A back-end says nothing here that it is not asked: what comes is the end.
	ended := make(chan error, 1)
	go func() {
		_, err := f.Recv()
		for errors.Is(err, os.ErrDeadlineExceeded) {
			_, err = f.Recv()
		}
		ended <- errors.Errorf("the connection has ended (%v)", err)
	}()
	if err := l.fill(); err != nil {
		return err
	}
	failed := l.begin()
	for {
		select {
		case err := <-failed:
			if err != nil {
				return err
			}
			fmt.Println(l.report())
			return l.verify()
		case err := <-ended:
			return err
		case sig := <-signals:
			fmt.Println(l.report())
			if sig == syscall.SIGTERM {
				l.pausing.Store(true)
				signals = nil
			}
		}
	}
}

// limit is how long a request may take, restarts included.
const limit = 90 * time.Second
