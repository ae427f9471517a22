package export

import "strconv"

// The groups of Options, as help shows them.
const (
	GroupSocket = "Socket"
	GroupDisk   = "Disk"
	GroupDevice = "Device, as the guest sees it"
)

// Option is one thing that an operator can say about an export: a flag of `serve` and a key of --export alike.
type Option struct {
	Key   string
	Value string // what to write after "=", for help: "FILE"
	Usage string
	Group string
	Bool  bool // a bare key means on
	Own   bool // belongs to one export, so it cannot be a default for several

	set setter
	get func(d *Definition) string
}

// Set reads value into d. What it rejects, it rejects with an *OptionError.
func (o Option) Set(d *Definition, value string) error {
	if reason, remedy := o.set(d, value); reason != "" {
		return &OptionError{Option: o.Key, Value: value, Reason: reason, Remedy: remedy}
	}
	return nil
}

// Get is the value in d, as Set reads it.
func (o Option) Get(d *Definition) string { return o.get(d) }

// Options lists all of them, in the order in which help shows them.
func Options() []Option {
	return append(append(socketOptions(), diskOptions()...), deviceOptions()...)
}

func socketOptions() []Option {
	return []Option{
		{
			Key: "socket-path", Value: "PATH", Own: true, Group: GroupSocket,
			Usage: "listen on this Unix socket; a stale one left by a dead process is replaced",
			set:   setText(func(d *Definition) *string { return &d.Socket.Path }),
			get:   func(d *Definition) string { return d.Socket.Path },
		},
		{
			Key: "fd", Value: "FDNUM", Own: true, Group: GroupSocket,
			Usage: "use this inherited socket; listening ones accept, a connected one serves that front-end and ends",
			set:   setFD,
			get:   func(d *Definition) string { return optionalInt(d.Socket.FD) },
		},
		{
			Key: "connect", Value: "PATH", Own: true, Group: GroupSocket,
			Usage: "connect to a front-end that listens here (QEMU's server=on), again whenever it goes away",
			set:   setText(func(d *Definition) *string { return &d.Socket.Connect }),
			get:   func(d *Definition) string { return d.Socket.Connect },
		},
		{
			Key: "name", Value: "NAME", Own: true, Group: GroupSocket,
			Usage: "what messages call the export (default: the socket's file name without its ending)",
			set:   setText(func(d *Definition) *string { return &d.Name }),
			get:   func(d *Definition) string { return d.Name },
		},
	}
}

func diskOptions() []Option {
	return []Option{
		{
			Key: "blk-file", Value: "FILE", Own: true, Group: GroupDisk,
			Usage: "the raw image file or block device",
			set:   setText(func(d *Definition) *string { return &d.Disk.File }),
			get:   func(d *Definition) string { return d.Disk.File },
		},
		{
			Key: "store", Value: "KIND:SIZE", Own: true, Group: GroupDisk,
			Usage: "no file: null:SIZE keeps nothing and reads leave memory as it is, mem:SIZE keeps data until the end",
			set:   setStore,
			get:   func(d *Definition) string { return d.Disk.Store.String() },
		},
		{
			Key: "read-only", Bool: true, Group: GroupDisk,
			Usage: "open the file read-only and tell the guest so",
			set:   setBool(func(d *Definition) *bool { return &d.Disk.ReadOnly }),
			get:   func(d *Definition) string { return onOff(d.Disk.ReadOnly) },
		},
		{
			Key: "direct", Value: "on|off", Bool: true, Group: GroupDisk,
			Usage: "O_DIRECT; off goes through the host's page cache, for file systems that refuse direct I/O",
			set:   setBool(func(d *Definition) *bool { return &d.Disk.Direct }),
			get:   func(d *Definition) string { return onOff(d.Disk.Direct) },
		},
		{
			Key: "lock-timeout", Value: "DURATION", Group: GroupDisk,
			Usage: "how long to wait for a file that another process has locked; 0 gives up at once",
			set:   setTimeout,
			get:   func(d *Definition) string { return seconds(d.Disk.LockTimeout) },
		},
		{
			Key: "incoming", Bool: true, Group: GroupDisk,
			Usage: "destination of a migration: listen at once, serve requests when the source lets go of the file",
			set:   setBool(func(d *Definition) *bool { return &d.Disk.Incoming }),
			get:   func(d *Definition) string { return onOff(d.Disk.Incoming) },
		},
		{
			Key: "allow-shrink", Bool: true, Group: GroupDisk,
			Usage: "let SIGHUP make the guest's disk smaller, too; what lies beyond the new end is lost",
			set:   setBool(func(d *Definition) *bool { return &d.Disk.AllowShrink }),
			get:   func(d *Definition) string { return onOff(d.Disk.AllowShrink) },
		},
	}
}

func deviceOptions() []Option {
	return []Option{
		{
			Key: "num-queues", Value: "N", Group: GroupDevice,
			Usage: "the most queues a front-end may use, 1 to 256; unused ones cost nothing",
			set:   setQueues,
			get:   func(d *Definition) string { return strconv.Itoa(d.Device.NumQueues) },
		},
		{
			Key: "cache", Value: "MODE", Group: GroupDevice,
			Usage: "auto, writeback (flushes become fdatasync), writethrough (each write is stable), unsafe (loses data)",
			set:   setCache,
			get:   func(d *Definition) string { return string(d.Device.Cache) },
		},
		{
			Key: "flush-error", Value: "sticky|retry", Group: GroupDevice,
			Usage: "after a failed flush all later ones fail until SIGUSR1 (sticky), or the next is tried (retry)",
			set:   setFlushError,
			get:   func(d *Definition) string { return string(d.Device.FlushError) },
		},
		{
			Key: "config-wce", Bool: true, Group: GroupDevice,
			Usage: "let the guest switch its write cache off and on",
			set:   setBool(func(d *Definition) *bool { return &d.Device.ConfigWCE }),
			get:   func(d *Definition) string { return onOff(d.Device.ConfigWCE) },
		},
		{
			Key: "logical-block-size", Value: "BYTES", Group: GroupDevice,
			Usage: "the smallest unit the guest reads and writes, a power of two from 512",
			set:   setBlockSize(func(d *Definition) *uint32 { return &d.Device.LogicalBlockSize }),
			get:   func(d *Definition) string { return optionalSize(d.Device.LogicalBlockSize) },
		},
		{
			Key: "physical-block-size", Value: "BYTES", Group: GroupDevice,
			Usage: "the unit the guest should align to (default: the disk's own)",
			set:   setBlockSize(func(d *Definition) *uint32 { return &d.Device.PhysicalBlockSize }),
			get:   func(d *Definition) string { return optionalSize(d.Device.PhysicalBlockSize) },
		},
		{
			Key: "serial", Value: "TEXT", Own: true, Group: GroupDevice,
			Usage: "serial number, at most 20 characters (default: made of the export's name)",
			set:   setSerial,
			get:   func(d *Definition) string { return d.Device.Serial },
		},
	}
}
