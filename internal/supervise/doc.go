// Package supervise is the parent of a vublk that must not be missed: it starts the process that does the work, keeps what
// that one hands it (descriptors by name, package resume), and when it dies starts another and hands everything on. A
// guest sees a pause.
//
//	          spawn ─► standby ─► hand out ─► ready ──────────────► ended: so does the supervisor
//	            ▲                               │  ▲
//	back-off ◄──┴────────────── dies ◄──────────┘  └─ upgrade: another one in standby, the old one hands over and ends
//
// SIGTERM ends it all: stop.go says when another worker is needed for that.
//
// The supervisor does nothing with what it keeps but to remove the names of sockets in the end, and knows neither guests nor
// disks: it is small so that it does not die. Should it die all the same, the worker goes on; nobody restarts it then, which
// it says.
package supervise
