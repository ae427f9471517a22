package vublk

import (
	"log/slog"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/export"
)

// Options are the choices about one export: how its disk looks to the guest. The zero value of each field means its default.
type Options struct {
	// Name is what log lines call the export; a Server's exports have different ones. Default: the socket's file name
	// without its ending.
	Name string
	// ReadOnly offers the disk read-only and answers writes with IOERR. A Disk that says so of itself is served so anyway.
	ReadOnly bool
	// Queues is the most queues that a front-end may use, 1 to 256. QEMU wants one for each virtual CPU and refuses the
	// device when there are fewer; those that are not used cost nothing. Default: 256.
	Queues int
	// LogicalBlockSize is the smallest unit that the guest reads and writes, in bytes: a power of two from 512 to 65536, of
	// which the Disk's size is a multiple. Default: 512.
	LogicalBlockSize uint32
	// PhysicalBlockSize is the unit, in bytes, that the guest should align to: a power of two, not smaller than
	// LogicalBlockSize. Default: the Disk's own, DiskInfo.OffsetAlign.
	PhysicalBlockSize uint32
	// Serial is what the guest sees as the disk's serial number: 1 to 20 visible ASCII characters. Default: made of Name.
	Serial string
	// Cache decides which durability the guest is offered. Default: blk.CacheAuto.
	Cache blk.CacheMode
	// FlushError decides what a failed flush means for later ones. Default: blk.FlushErrorSticky.
	FlushError blk.FlushErrorMode
	// ConfigWCE lets the guest switch its write cache off and on. Contradicts blk.CacheWritethrough.
	ConfigWCE bool
	// Log gets what happens to the export. Default: the Server's; ListenAndServe and Serve: none.
	Log *slog.Logger
}

// definition is what internal/export calls the same thing.
func (o *Options) definition(path string) export.Definition {
	d := export.NewDefinition()
	d.Name, d.Socket.Path = o.Name, path
	d.Disk.ReadOnly = o.ReadOnly
	dev := &d.Device
	dev.PhysicalBlockSize, dev.Serial, dev.ConfigWCE = o.PhysicalBlockSize, o.Serial, o.ConfigWCE
	if o.Queues != 0 {
		dev.NumQueues = o.Queues
	}
	if o.LogicalBlockSize != 0 {
		dev.LogicalBlockSize = o.LogicalBlockSize
	}
	if o.Cache != "" {
		dev.Cache = o.Cache
	}
	if o.FlushError != "" {
		dev.FlushError = o.FlushError
	}
	return d
}

// ServerOptions are the choices about a Server. The zero value of each field means its default.
type ServerOptions struct {
	// Workers is the number of threads that do the I/O of all exports. Default: one for each of CPUs, or for each CPU that
	// the process may run on.
	Workers int
	// CPUs has each worker run on a CPU of its own: the first of this list, the second, … Default: wherever the kernel
	// likes.
	CPUs []int
	// Poll is how long a worker that has run out of work looks for more before it sleeps: "auto" (while that pays), "off", or
	// a duration up to 10 ms such as "50us". Default: auto.
	Poll string
	// Log gets what happens to the exports. Default: none.
	Log *slog.Logger
	// TraceMessages logs each vhost-user message, at level info.
	TraceMessages bool
}
