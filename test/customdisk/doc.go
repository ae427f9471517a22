// Package customdisk serves the disk of examples/customdisk, which is a module of its own, to a real guest and to our own
// front-end, and has the guest's kernel check what it wrote: dm-crypt reads the same image.
//
// The module below embed proves that the public packages are enough for a Disk, a Device and a Session, without the façade
// either. Its name does not begin with ours, so that Go itself refuses what is internal.
package customdisk
