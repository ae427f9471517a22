// Package manual makes man pages: of commands, whose help has the description, the options and the examples, and of what is
// written beside it, in packaging/man/written: signals, files, the environment.
//
// Only tests use it: those of the commands compare packaging/man with what it makes, and write it when `make man` runs them.
// So the programs do not carry it, and a page cannot be older than the help that it repeats.
//
// Read next: page.go has the order of a page's sections, roff.go the language that man(1) reads.
package manual
