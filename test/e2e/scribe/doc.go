// Package scribe is a program that writes in a guest and syncs all the time, and what the host needs to check its work.
//
// Each writer makes numbered records, one file after the other: write under another name, fsync, rename, fsync the
// directory, note the number in a file that is synced too, drop what is cached and read back. The content of a record
// follows from writer and number, so a guest's idea of what it wrote is never trusted: Check looks at a copy of the
// directory on the host.
//
// The command in cmd is put into guests by their initramfs.
package scribe
