// Package e2e boots real Linux guests in QEMU on disks that vublk serves, and checks what they wrote from the host with
// programs that know nothing of vublk: e2fsck, debugfs, qemu-img, a loop mount.
//
// Every test is one case: its own directory, vublk, guest and image. Tests run one after the other, on machines of two
// CPUs a second guest would only slow the first. The package guest below starts guests and back-ends; this one only
// says what has to happen. A missing tool fails the run: TestMain calls .ci/setup first.
//
// README.md tells how to run one case by hand and how to see a guest's console.
package e2e
