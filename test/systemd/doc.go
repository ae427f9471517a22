// Package systemd runs the units of packaging/systemd under real systemd: it is the first process of a guest in QEMU, with the
// host's own binaries. Beside vublk and its units there is a pilot, a front-end that cannot reconnect and checks what it
// reads: what it does not notice no guest does.
//
// One machine serves all cases, in order (machine_test.go). Read next: daemon_test.go.
package systemd
