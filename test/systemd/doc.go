// Package systemd runs the units of packaging/systemd under real systemd, with the host's own binaries, in two places.
//
// In a guest of QEMU systemd is the first process of a whole machine. Beside vublk and its units there is a pilot, a
// front-end that cannot reconnect and checks what it reads: what it does not notice no guest does. One machine serves all
// cases, in order (machine_test.go, daemon_test.go).
//
// In a container (container_test.go, container.sh) systemd is the first process of namespaces on the host's kernel: vublk works at
// full speed, and what it serves is a real guest, whose QEMU runs outside and was not told to reconnect (guest_test.go). This
// one needs root.
package systemd
