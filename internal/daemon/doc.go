// Package daemon owns a host's exports: their definitions in a state directory, and the exports made of them in a registry. It has
// the verbs of the control API (api/v1), and knows nothing of how they arrive.
//
//	Create ─► served ◄─ Start ─ out of service ◄─ Drain
//	             │                     ▲    │
//	             └── ended by itself ──┘    │
//	             └──────── Delete ◄─────────┘
//
// Each name has a slot, which its verbs hold one after the other; a verb that waits for its turn, or for an image, gives up
// when its context ends. What it has begun to end (requests, a flush) goes on in a goroutine that holds the slot until it is
// done. No lock is held while anything is waited for, so a disk that hangs keeps nobody but the verbs on its own name.
//
// What is on the disk comes first when something is to go away, and last when something comes: after kill -9 at any
// instruction the definitions are those of the last verb that was answered, or of the one that was not, whole.
//
//	Create   serve ─► write ─► answer
//	Start    serve ─► write ─► answer
//	Update   end ─► serve the new one ─► write ─► answer; when one fails: serve the old one
//	Drain    write ─► end ─► answer
//	Delete   write that it is deleted ─► end ─► remove ─► answer
//
// Any goroutine may call a Daemon. Trusted: whoever may call it, though what they say is checked. Read next: daemon.go,
// create.go, statedir.
package daemon
