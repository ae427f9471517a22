package vublk_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vublk/vublk"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// counter is a read-only disk of one GiB that is nowhere: each 8 bytes hold their own place.
type counter struct{}

func (counter) Info() vublk.DiskInfo {
	return vublk.DiskInfo{Name: "counter", Size: 1 << 30, ReadOnly: true}
}

func (counter) Close() error { return nil }

func (counter) ReadAt(_ context.Context, p []byte, off int64) error {
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], uint64(off)+uint64(i))
	}
	return nil
}

// No guest gets this far with a disk that says that it is read-only.
func (counter) WriteAt(context.Context, []byte, int64) error     { return os.ErrPermission }
func (counter) Flush(context.Context) error                      { return nil }
func (counter) Zero(_ context.Context, _, _ int64, _ bool) error { return os.ErrPermission }

// A disk of one's own, and what a front-end (here one for tests, elsewhere QEMU) sees of it.
func Example() {
	dir, err := os.MkdirTemp("", "vublk")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	server, err := vublk.NewServer(vublk.ServerOptions{Workers: 1})
	if err != nil {
		fmt.Println(err) // the kernel has no io_uring, or a sandbox forbids it
		return
	}
	path := filepath.Join(dir, "vm.sock")
	export, err := server.Listen(path, counter{}, vublk.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(export.Name(), "is", export.State())

	front, err := vhostusertest.Connect(path, vhostusertest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	config, err := front.Config(0, 8) // struct virtio_blk_config begins with the capacity
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("the guest sees", binary.LittleEndian.Uint64(config), "sectors; the export is", export.State())
	fmt.Println("front-end:", front.Close())
	fmt.Println("server:", server.Close(), export.State())
	// Output:
	// vm is listening
	// the guest sees 2097152 sectors; the export is attached
	// front-end: <nil>
	// server: <nil> closed
}

// ListenAndServe is all that a program with one disk needs.
func ExampleListenAndServe() {
	ctx, stop := context.WithCancel(context.Background()) // signal.NotifyContext, mostly
	stop()
	path := filepath.Join(os.TempDir(), fmt.Sprintf("vublk-example-%d.sock", os.Getpid()))
	fmt.Println(vublk.ListenAndServe(ctx, path, counter{}, vublk.Options{Serial: "COUNTER1"}))
	// Output: <nil>
}

// An option that is wrong is told apart from a disk, a socket or a kernel that is.
func ExampleOptionError() {
	err := vublk.ListenAndServe(context.Background(), "vm.sock", counter{}, vublk.Options{Queues: 1000})
	fmt.Println(err)
	// Output: Queues=1000: not a number of queues; take 1 to 256
}
