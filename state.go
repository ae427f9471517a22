package vublk

import "github.com/vublk/vublk/internal/export"

// State is where an export is in its life:
//
//	               ┌──────── front-end has gone ────────┐
//	               ▼                                    │
//	opening ──► listening ──► attached ──► draining ────┤
//	   └───────────┴──────────── Close ─────────────────┴──► closed
type State string

// The states of an Export.
const (
	StateOpening   State = "opening"   // the device and the socket are being made
	StateListening State = "listening" // no front-end is connected
	StateAttached  State = "attached"  // a front-end is connected; others wait for its end
	StateDraining  State = "draining"  // it has gone: requests end, then the Disk is flushed
	StateClosed    State = "closed"    // nothing is open; the Disk is the caller's alone
)

// states are those of internal/export.
var states = map[export.State]State{
	export.Created:        StateOpening,
	export.WaitingForLock: StateOpening,
	export.Listening:      StateListening,
	export.Attached:       StateAttached,
	export.Draining:       StateDraining,
	export.Closed:         StateClosed,
}
