// The demo shows vublk at work on this machine: it makes an image, serves it, boots a Linux guest on it that partitions,
// formats, writes, reads back and measures, and at last checks the image from the host. make demo runs it; it needs
// what .ci/setup installs and bin/vublk.
//
// One goroutine does everything, step by step (steps.go); what it trusts is the host's e2fsck, debugfs and sums, never
// what the guest says of itself. Guests and processes come from test/e2e/guest.
package main
