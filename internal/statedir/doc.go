// Package statedir keeps values under names in a directory, for a program that may be killed at any instruction on a machine that
// may lose power at any moment: a value is there whole, or as it was before.
//
//	DIRECTORY/lock                whose it is: locked while a process has the directory open
//	DIRECTORY/NAME.export         one value: a line with version and checksum, then JSON
//	DIRECTORY/.new-NAME           a value that is being written; one that is left behind is removed
//	DIRECTORY/NAME.export.damaged-1  a value that was not whole when the directory was opened
//
// Put writes a new file, has it on the disk, gives it the name and has that on the disk, too (rename(2), fsync(2) of file and
// directory). Any name of at most 255 bytes will do: what is not plain is escaped, what is too long ends in a checksum. The
// name inside the file decides; a file that has another one's name is as damaged as one with a wrong checksum.
//
// Any goroutine may call a Dir. Trusted: the operator, who owns the directory and may edit what is in it while nobody has it
// open, though checked for mistakes. Read next: dir.go, file.go.
package statedir
