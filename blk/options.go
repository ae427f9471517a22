package blk

import (
	"log/slog"

	"github.com/pkg/errors"
)

// CacheMode decides which durability a device offers its driver; what was negotiated decides which it keeps.
type CacheMode string

// The cache modes. The words are the values of --cache.
const (
	CacheAuto         CacheMode = "auto"         // CacheWriteback, but without FLUSH on a Disk that has no volatile cache
	CacheWriteback    CacheMode = "writeback"    // FLUSH is offered and becomes fdatasync
	CacheWritethrough CacheMode = "writethrough" // FLUSH is not offered, each write is stable before it completes
	CacheUnsafe       CacheMode = "unsafe"       // FLUSH is offered and does nothing
)

// ParseCacheMode accepts the words of the CacheMode constants; an error lists them.
func ParseCacheMode(s string) (CacheMode, error) {
	switch m := CacheMode(s); m {
	case CacheAuto, CacheWriteback, CacheWritethrough, CacheUnsafe:
		return m, nil
	}
	return "", errors.Errorf("cache mode %q is none of auto, writeback, writethrough, unsafe", s)
}

// FlushErrorMode decides what a failed fdatasync means for later ones.
type FlushErrorMode string

// The modes. The words are the values of --flush-error.
const (
	FlushErrorSticky FlushErrorMode = "sticky" // all later flushes fail, until ClearFlushError
	FlushErrorRetry  FlushErrorMode = "retry"  // the next one is tried
)

// ParseFlushErrorMode accepts the words of the FlushErrorMode constants.
func ParseFlushErrorMode(s string) (FlushErrorMode, error) {
	switch m := FlushErrorMode(s); m {
	case FlushErrorSticky, FlushErrorRetry:
		return m, nil
	}
	return "", errors.Errorf("flush error mode %q is neither sticky nor retry", s)
}

// Limits of DeviceOptions.
const (
	MaxQueues    = 256     // the index of a vring is 8 bits in vhost-user messages
	MaxSerial    = 20      // VIRTIO_BLK_ID_BYTES
	SectorSize   = 512     // the unit of the config space and of requests, whatever the block size
	MaxBlockSize = 1 << 16 // of logical and physical blocks, bytes
	MaxSegments  = 256     // of one discard or write-zeroes request
)

// DeviceOptions are the choices about one virtio-blk device. The zero value of each field means its default.
type DeviceOptions struct {
	Name              string // for messages; default: the Disk's name
	NumQueues         int    // 1..MaxQueues, default MaxQueues: a queue costs nothing until it starts
	ReadOnly          bool   // offer RO and answer writes with IOERR; implied by a read-only Disk
	LogicalBlockSize  uint32 // bytes, a power of two >= 512, default 512
	PhysicalBlockSize uint32 // bytes, a power of two >= LogicalBlockSize, default the Disk's OffsetAlign
	Serial            string // at most MaxSerial bytes, default derived from Name
	Cache             CacheMode
	FlushError        FlushErrorMode
	ConfigWCE         bool   // offer CONFIG_WCE: the driver may switch between write-back and write-through
	SegMax            uint32 // data segments of a request, default 126
	MaxDiscardSegs    uint32 // segments of a discard or write-zeroes request, 1..MaxSegments, default 1
	Held              bool   // start queues without serving them until SetHeld(false): a migration's destination

	Log *slog.Logger
	// Fail, when set, is told that the front-end's memory cannot be used any more. It must not block.
	Fail func(error)
}

func (o *DeviceOptions) setDefaults(info DiskInfo) {
	if o.Name == "" {
		o.Name = info.Name
	}
	if o.NumQueues == 0 {
		o.NumQueues = MaxQueues
	}
	o.ReadOnly = o.ReadOnly || info.ReadOnly
	if o.LogicalBlockSize == 0 {
		o.LogicalBlockSize = SectorSize
	}
	if o.PhysicalBlockSize == 0 {
		o.PhysicalBlockSize = max(o.LogicalBlockSize, info.OffsetAlign)
	}
	if o.Serial == "" {
		o.Serial = defaultSerial(o.Name)
	}
	if o.Cache == "" {
		o.Cache = CacheAuto
	}
	if o.FlushError == "" {
		o.FlushError = FlushErrorSticky
	}
	if o.SegMax == 0 {
		o.SegMax = defaultSegMax
	}
	if o.MaxDiscardSegs == 0 {
		o.MaxDiscardSegs = 1
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Fail == nil {
		o.Fail = func(error) {}
	}
}

func (o *DeviceOptions) validate(info DiskInfo) error {
	if err := info.validate(); err != nil {
		return err
	}
	switch {
	case o.NumQueues < 1 || o.NumQueues > MaxQueues:
		return errors.Errorf("%d queues: a device has 1 to %d", o.NumQueues, MaxQueues)
	case !blockSize(o.LogicalBlockSize):
		return errors.Errorf("logical block size %d: take a power of two from %d to %d", o.LogicalBlockSize, SectorSize, MaxBlockSize)
	case !blockSize(o.PhysicalBlockSize) || o.PhysicalBlockSize < o.LogicalBlockSize:
		return errors.Errorf("physical block size %d: take a power of two from the logical block size (%d) to %d",
			o.PhysicalBlockSize, o.LogicalBlockSize, MaxBlockSize)
	case info.Size%int64(o.LogicalBlockSize) != 0:
		return errors.Errorf("%s has %d bytes, which is not a whole number of logical blocks of %d bytes: grow it to %d bytes, or choose a smaller logical block size",
			info.Name, info.Size, o.LogicalBlockSize, roundUp(info.Size, int64(o.LogicalBlockSize)))
	case len(o.Serial) > MaxSerial:
		return errors.Errorf("serial %q has %d bytes, at most %d fit", o.Serial, len(o.Serial), MaxSerial)
	case o.MaxDiscardSegs > MaxSegments:
		return errors.Errorf("%d segments a discard: at most %d", o.MaxDiscardSegs, MaxSegments)
	}
	if _, err := ParseCacheMode(string(o.Cache)); err != nil {
		return err
	}
	_, err := ParseFlushErrorMode(string(o.FlushError))
	return err
}

func blockSize(n uint32) bool {
	return n >= SectorSize && n <= MaxBlockSize && n&(n-1) == 0
}
