package blk_test

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/vublk/vublk/blk"
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

// A device on a disk in memory, driven as a vhost-user session drives it, and a guest's driver that writes a sector.
func Example() {
	pool, err := blk.NewPool(blk.PoolOptions{Workers: 1})
	check(err) // an *iouring.UnsupportedError where there is no io_uring
	disk, err := blk.NewMem(1 << 20)
	check(err)
	device, err := pool.NewDevice(disk, blk.DeviceOptions{Name: "example"})
	check(err)

	// What a session would have been told: the guest's memory, what its driver accepts, and where queue 0 is.
	guest, err := virtiotest.NewMemory(virtiotest.RAM(1 << 20))
	check(err)
	driver, err := virtiotest.NewDriver(guest, virtiotest.Options{Size: 16, Features: virtio.FeatureVersion1})
	check(err)
	table, err := guest.Table()
	check(err)
	check(device.SetFeatures(uint64(virtio.FeatureVersion1)))
	check(device.SetMemory(table))
	queue, err := driver.Activate(table)
	check(err)
	check(device.StartQueue(0, queue)) // the worker's from here on

	// A request is a header, data and a status byte (virtio-v1.3 5.2.6).
	at, err := guest.Alloc(1024, 512)
	check(err)
	header := binary.LittleEndian.AppendUint32(nil, uint32(blk.RequestOut))
	header = binary.LittleEndian.AppendUint32(header, 0)
	header = binary.LittleEndian.AppendUint64(header, 7) // sector
	guest.Write(at, header)
	guest.Write(at+512, []byte("to sector 7"))
	_, err = driver.Add(virtiotest.Request{
		Readable: []virtiotest.Area{{GPA: at, Len: 16}, {GPA: at + 512, Len: 512}},
		Writable: []virtiotest.Area{{GPA: at + 16, Len: 1}},
	})
	check(err)
	_, err = driver.Publish()
	check(err)
	fmt.Println("status", await(driver, guest, at+16))

	base, err := device.StopQueue(0) // drained
	check(err)
	fmt.Println("stopped before request", base)
	fmt.Println(device.Stats().Total.Write.Requests, "write of", device.Stats().Total.Write.Bytes, "bytes")
	check(device.Close())
	check(disk.Close())
	check(pool.Close())
	table.Release()
	check(driver.Close())
	check(guest.Close())
	// Output:
	// status 0
	// stopped before request 1
	// 1 write of 512 bytes
}

// await waits for the completion of the only request and returns its status byte.
func await(driver *virtiotest.Driver, guest *virtiotest.Memory, status guestmem.GPA) byte {
	for {
		_, done, err := driver.Reap()
		check(err)
		if done {
			return guest.Bytes(status, 1)[0]
		}
		if !driver.EnableCalls() {
			_, err := driver.WaitCall(time.Second)
			check(err)
		}
	}
}

// Which CPUs workers are placed on is written as taskset(1) does.
func ExampleParseCPUs() {
	cpus, err := blk.ParseCPUs("0-2,8")
	fmt.Println(cpus, blk.FormatCPUs(cpus), err)
	// Output: [0 1 2 8] 0-2,8 <nil>
}
