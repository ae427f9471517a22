package bench

import (
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio"
)

// Wait is how a driver waits for completions.
type Wait int

// The ways to wait.
const (
	Polling  Wait = iota // looks at the used ring all the time
	Sleeping             // asks for a call and sleeps on its eventfd
)

// Config is what to do. Fields that are zero mean what their comment says.
type Config struct {
	Socket string // of the back-end, which listens there
	// BackendPID is the process whose CPU time is measured: 0 is the one that made Socket, of a supervised vublk the worker
	// (internal/supervise) as long as it is the first one, of a socket of systemd's nobody; negative: none.
	BackendPID int

	Queues    int    // 1
	Depth     int    // requests in flight per queue; 1
	BlockSize uint32 // bytes of a read or write, a multiple of 512; 4096
	Mix       Mix    // random reads
	Span      uint64 // bytes from the disk's begin on that are used, the whole disk

	Packed     bool // ring format
	Indirect   bool // a request's descriptors are in an indirect table, as Linux does it
	NoEventIdx bool // do not negotiate EVENT_IDX
	Wait       Wait
	// Batch is how many requests are made available to the device at once when there are several to make; 8. With 1 each
	// is on its own, as SPDK's initiator and Linux without a plug do it.
	Batch int

	Warmup   time.Duration // not measured, 0 is none
	Duration time.Duration // measured; 1 s
	Patience time.Duration // for one completion; 10 s
	CPUs     []int         // queue i runs on CPUs[i%len]; empty: wherever the scheduler likes
	Seed     uint64        // of the random offsets and choices

	self  bool        // there is no back-end, see SelfLoop
	ended func() bool // the back-end has gone; nil: nobody knows
}

// Bounds of Config.
const (
	MaxQueues    = 256
	MaxDepth     = 1 << 12
	MaxBlockSize = 1 << 24
	SectorSize   = 512
	// defaultBatch is how many requests take the places of completed ones before the device sees them: with more of them
	// kept back it would run dry, with fewer the cache line with the index would move more often.
	defaultBatch = 8
)

func (c *Config) setDefaults() {
	c.Queues, c.Depth = max(c.Queues, 1), max(c.Depth, 1)
	if c.Batch == 0 {
		c.Batch = defaultBatch
	}
	if c.BlockSize == 0 {
		c.BlockSize = 4096
	}
	if c.Duration <= 0 {
		c.Duration = time.Second
	}
	if c.Patience <= 0 {
		c.Patience = 10 * time.Second
	}
}

func (c *Config) check() error {
	switch {
	case c.Queues > MaxQueues:
		return errors.Errorf("%d queues: %d at most", c.Queues, MaxQueues)
	case c.Depth > MaxDepth:
		return errors.Errorf("depth %d: %d at most", c.Depth, MaxDepth)
	case c.Batch < 1:
		return errors.Errorf("batches of %d requests: 1 at least", c.Batch)
	case c.BlockSize%SectorSize != 0 || c.BlockSize > MaxBlockSize:
		return errors.Errorf("block size %d: a multiple of %d up to %d", c.BlockSize, SectorSize, MaxBlockSize)
	}
	return c.Mix.check()
}

// descriptors is how many descriptors a request has: header, data, status.
const descriptors = 3

// ringSize is the size of a queue's ring: a power of two with room for the depth, and no smaller than QEMU's default.
func (c *Config) ringSize() uint32 {
	slots := uint32(c.Depth)
	if !c.Indirect {
		slots *= descriptors
	}
	size := uint32(128)
	for size < slots {
		size *= 2
	}
	return size
}

// features is what the driver wants of the ring.
func (c *Config) features() virtio.Features {
	f := virtio.FeatureVersion1 | virtio.FeatureIndirectDesc
	if !c.NoEventIdx {
		f |= virtio.FeatureEventIdx
	}
	if c.Packed {
		f |= virtio.FeatureRingPacked
	}
	return f
}
