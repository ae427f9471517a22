package virtio

import "fmt"

// Reason tells what is wrong with a chain.
type Reason uint8

// What a driver must not do.
const (
	reasonNone                Reason = iota
	ReasonAvailJump                  // avail index ahead by more than the queue size
	ReasonHeadRange                  // head is no descriptor of the table
	ReasonHeadInFlight               // head or buffer id made available again before it was used
	ReasonNextRange                  // next is no descriptor of the table
	ReasonChainLength                // more descriptors than the queue or table has: a loop
	ReasonOverrun                    // packed: more descriptors available than the ring has
	ReasonIndirectUnsupported        // INDIRECT without VIRTIO_F_INDIRECT_DESC
	ReasonIndirectNext               // INDIRECT together with NEXT
	ReasonIndirectNested             // INDIRECT inside of an indirect table
	ReasonTableSize                  // indirect table's length is 0 or no multiple of 16
	ReasonTableLength                // indirect table with more than MaxTableLen entries
	ReasonUnmapped                   // address outside guest memory
	ReasonSegments                   // more than MaxSegments host segments
	ReasonOrder                      // readable descriptor behind a writable one
	ReasonBytes                      // 2^32 bytes or more
)

var reasons = [...]string{
	reasonNone:                "no reason",
	ReasonAvailJump:           "available index jumped by more than the queue size",
	ReasonHeadRange:           "head is outside of the descriptor table",
	ReasonHeadInFlight:        "made available while still in flight",
	ReasonNextRange:           "next is outside of the descriptor table",
	ReasonChainLength:         "chain is longer than its table (loop?)",
	ReasonOverrun:             "more descriptors are available than the ring has",
	ReasonIndirectUnsupported: "indirect descriptor without the feature",
	ReasonIndirectNext:        "indirect descriptor in a packed chain or with a successor",
	ReasonIndirectNested:      "indirect descriptor inside of an indirect table",
	ReasonTableSize:           "length of the indirect table is 0 or not a multiple of 16",
	ReasonTableLength:         "indirect table is too long",
	ReasonUnmapped:            "address outside guest memory",
	ReasonSegments:            "too many segments",
	ReasonOrder:               "readable descriptor behind a writable one",
	ReasonBytes:               "4 GiB or more in one chain",
}

// String describes the reason.
func (r Reason) String() string {
	if int(r) < len(reasons) {
		return reasons[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// ChainError tells that the driver broke the rules, and with them the queue.
type ChainError struct {
	Head   uint16 // split: head descriptor (available index for ReasonAvailJump); packed: place in the ring
	Reason Reason
}

// Error implements error.
func (e *ChainError) Error() string {
	return fmt.Sprintf("bad chain at %d: %s", e.Head, e.Reason)
}
