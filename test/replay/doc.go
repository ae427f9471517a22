// Package replay is the proof of durability by a log of everything that reaches the disk.
//
// The file that the real vublk serves is a FUSE export of qemu-storage-daemon on top of its driver blklogwrites, which
// records writes and flushes in the format of the kernel's dm-log-writes. The log is replayed here (log.go, stable.go): of
// each write only what a later flush covers, or FUA makes stable by itself, is taken to be on the disk. What a power cut
// right after a flush would leave is compared with what somebody had been promised by then:
//
//   - a native front-end that writes numbered sectors (load_test.go, native_test.go), also against qemu-storage-daemon's own
//     vhost-user-blk export, so that the check is seen to find losses;
//   - a Linux guest that fsyncs files on ext4 (guest_test.go, files_test.go).
//
// The rule that ties the two together. blklogwrites writes the number of entries to the log's superblock with each flush,
// before the flush is answered. Who has seen a promise kept reads that number N at once: the promise then rests on the first
// N entries, and of these on what is stable at the last flush (or FUA write) among them. A flush that is answered without a
// flush of the disk leaves N behind and is found. With more than one queue a flush of another queue may come between the
// answer and the reading: then a loss can stay unseen, but none is seen that is none. One queue, one request at a time, has no
// such gap. The guest's files carry a second, tighter mark: each writer begins a file only after the fsync of the one
// before has returned, so the first data of a file in the log is later than the promise of the one before.
//
// It needs root and /dev/fuse: the tests run in a mount namespace of their own, and nothing stays mounted. VUBLK_SEED
// repeats a run's choices, VUBLK_PROVE=long makes it 1,000 flush points and more for each configuration that must not lose.
package replay
