// Package control is the daemon's API (api/v1) over ttrpc: it decodes, calls the daemon and encodes. What it decides is who
// may call, and how much at a time.
//
// A client is another process and may do anything with its connection. Each connection is read through a guard, which passes
// whole frames of bounded size to ttrpc and nothing that ttrpc could not stand, stops reading while too many calls wait, and
// gives up a client that neither finishes a frame nor reads an answer. Connections, calls and streams are bounded in number;
// the connection that has been idle for longest makes room for a new one. So whatever clients do costs bounded memory, and
// never delays I/O: nothing here runs on a worker, and statistics are collected for one caller at a time, or for all that
// wait together.
//
// Goroutines: one accepts; a connection has three, a call one. A call's context ends with its deadline, with its connection
// and with the server: that is all ttrpc tells a server about a cancelled call.
//
// Read next: server.go, then guard.go, exports.go, observe.go.
package control
