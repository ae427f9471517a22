// Package top makes a live table out of a daemon's statistics: what `vublk top` shows.
//
// A Table is what lies between two samples (vublkv1.StatsResponse): rates, percentiles, cost. It is plain data, so that the same
// one can be drawn on a terminal (Screen, a model for charmbracelet's bubbletea) or written down once (Table.Write). A sample whose
// counters are smaller than before comes of a daemon that was restarted: it begins anew, and is never subtracted.
//
// Nothing here speaks to a daemon: whoever has a stream of samples passes them on. Trusted: the daemon, but for its names, which
// a client has chosen: what is not printable is not printed.
//
// Read next: table.go, screen.go, then cmd/vublk/top.go.
package top
