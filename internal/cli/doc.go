// Package cli is what the commands have in common: exit statuses and messages, help in groups, the log, and Serve, which
// runs exports until a signal.
//
// Exit statuses: 0 done, 1 something failed while working, 2 something is wrong with the options, the files, the socket
// or the kernel, so that nothing was begun.
//
// Everything runs on the main goroutine but for what export starts and for the writer of the log, whom nobody waits for
// (logwriter.go). Read next: serve.go, then export.
package cli
