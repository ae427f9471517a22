// Package daemon holds the real `vublk daemon` against many guests at once: exports are created, served, resized, changed and
// deleted over the control API under I/O, while the process is killed again and again.
//
// A guest (guest_test.go) is the only one that changes its export, so it knows what must be there: the definition, the size,
// and by its ledger (package driver) each sector. The site (site_test.go) has the process, kills it, and after each restart
// compares what the daemon lists with what the guests know.
package daemon
