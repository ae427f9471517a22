// Package export introduces a vhost-user session to a block device: one export is one socket, one session at a time,
// one blk.Device and one blk.Disk.
//
// A Definition is all that an operator decides about an export. It is plain data with a version, is what `serve` makes
// of its options and what survives a restart; Options is the one table from which command-line flags and the key=value
// list of --export are both read.
//
// A Registry owns the worker pool and the exports. Each Export has one goroutine, its runner, which is the only writer
// of the export's State:
//
//	                    ┌────────────── front-end has gone ─────────────┐
//	                    ▼                                               │
//	Created ─► WaitingForLock ─► Listening ─► Attached ─► Draining ─────┤
//	    │             │              │                                  │
//	    └─────────────┴──────────────┴──────────── stop ────────────────┴─► Closed
//
// Any goroutine may read a State. Create, Close and List of the Registry may be called from any goroutine; they take
// the registry's lock, which no runner holds while it serves.
//
// Trusted: the operator who writes Definitions (though checked for mistakes), and nobody behind a socket: what arrives
// there is vhostuser's and virtio's to validate. Read next: definition.go, export.go, then vhostuser and blk.
package export
