// Package resume keeps what a process needs to take the place of one that died: descriptors, and a file with the state
// that says what they are.
//
// A Holder is the process that outlives us: our own supervisor (internal/supervise), or systemd with its file-descriptor
// store (systemd.service(5), FileDescriptorStoreMax). Both are spoken to in the same words, those of sd_notify(3): a
// datagram of NAME=value lines, with descriptors. What has been sent is kept even if the sender dies the next moment; with
// systemd, after a Barrier.
//
// A File is memory that the holder has a descriptor of. It takes one value after the other, in such a way that a kill at any
// instruction leaves the old or the new one.
//
// Nothing here knows what the state means. The holder is trusted, and so is what comes from it.
package resume
