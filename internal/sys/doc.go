// Package sys owns file descriptors: one type for a descriptor with one owner, and the three kinds the project makes
// itself (eventfds, memfds, duplicates).
//
// The Go runtime's os.File registers descriptors with its poller and may flip their blocking mode; descriptors that a
// front-end sent us are shared with that front-end, so their modes are not ours to change. FD leaves them alone.
//
// An FD may be handed between goroutines, but only its owner calls its methods. Close is idempotent.
package sys
