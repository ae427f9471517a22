// Package insight lets a test see the Go runtime of a process, and make its garbage collector work: for what only the
// process itself knows, how often it has allocated, and for what it would rarely do by itself.
//
// It exists only in a build with -tags insight. In every other build Begin is an empty function; TestReleaseHasNone looks
// into the release binary for what is left of it.
//
// An insight build reads the variable VUBLK_INSIGHT, the path of a socket to listen on. A connection brings one line with an
// order, gets an answer and is closed:
//
//	collect 100ms   collects garbage every 100 ms from now on; 0: no more. The answer is how often it has
//	objects         how many objects have been allocated so far
//	live            the bytes of those that are left after a collection
//	heap            a profile of the heap, for go tool pprof
//
// Ask is the other end.
package insight
