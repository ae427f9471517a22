package blk

// Operations that are counted apart.
type operation uint8

const (
	opRead operation = iota
	opWrite
	opFlush
	opDiscard
	opWriteZeroes
	opOther
	opCount
)

// queueCounters are what a queue's worker counts. Nobody else reads them while the worker runs, but through the worker.
type queueCounters struct {
	ops           [opCount]opCounter
	kicks, calls  uint64
	bounced       uint64 // requests that could not go straight into guest memory
	flushesMerged uint64 // found everything stable already
	malformed     uint64 // chains that nobody can be told about
	barriers      uint64 // legacy barrier flags that meant nothing
	errors        uint64 // answered IOERR
	unsupported   uint64 // answered UNSUPP
	broken        bool
}

type opCounter struct {
	requests, bytes uint64
}

func (c *opCounter) add(bytes uint64) {
	c.requests++
	c.bytes += bytes
}

func (c *queueCounters) failed(status byte) {
	if status == statusUnsupp {
		c.unsupported++
		return
	}
	c.errors++
}
