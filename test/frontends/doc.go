// Package frontends runs what docs/frontends.md tells people to type: the page's own text, taken out of it, so that the two
// cannot differ. QEMU and a real libvirtd start guests on a disk that vublk serves, and what they wrote is checked from the
// host.
//
// All of it happens in a room of its own (room.sh): namespaces for mounts, processes and the network, in which /run, /var/lib
// and libvirt's directories are empty. So the page's paths are used as they stand, the machine's own libvirt is never touched,
// and whatever a failed test leaves running ends with it.
package frontends
