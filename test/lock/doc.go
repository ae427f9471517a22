// Package lock proves that an image has one owner: the real program against a second vublk and QEMU's programs, in both
// directions, and against its own predecessor that was killed and whose last I/O is still on its way to the disk.
//
// Each case runs on a regular file and, where that makes a difference, on a loop device. image_test.go makes those and
// looks at them from the host, user_test.go lists the programs that use an image, process_test.go starts them;
// slow_test.go makes disks that hold I/O back until they are told to let it go. The tests are in refuse_test.go,
// share_test.go, handover_test.go and zombie_test.go.
//
// The tests need root, losetup, mkfs.ext4, QEMU's tools and the blkio controller of cgroup v1; what is missing makes them
// fail. Loop devices are detached and file systems unmounted as soon as they are open, so that they go with the last
// process that uses them, whatever becomes of the test.
package lock
