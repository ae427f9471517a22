// Package guest boots small Linux guests in QEMU and talks to them; the end-to-end tests and the demo share it.
//
// A guest is Debian's cloud kernel (unpacked by .ci/setup, see kernel.go) and an initramfs that Initramfs builds from
// busybox, the kernel's modules and whatever host programs a case asks for. Its init runs a shell agent on a
// virtio-serial port: Guest.Run sends it a script and gets back what it printed and its exit status (agent.go).
// Guest.QMP drives QEMU itself.
//
// Who owns what: a Guest owns its QEMU process, its sockets and its two reading goroutines; Guest.Close ends them all. A
// Backend owns one vublk process. One goroutine uses a Guest or a Backend at a time. Nothing here depends on testing.
//
// Everything runs as the user who runs the tests; nothing is installed and no kernel of the host is touched.
// Read next: guest.go, then the tests one directory up.
package guest
