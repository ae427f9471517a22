// Package crashpoint stops a process, or a test's worker, at a named point: between two stores to shared memory, in the
// middle of a message, during a hand-over. What has to survive a kill -9 at any instruction is proved with it.
//
// The points exist only in a build with -tags crashpoint. In every other build Store and Reach are empty functions that
// the compiler removes; TestReleaseHasNone looks into the release binary for what is left of them.
//
// A crashpoint build reads the variable VUBLK_CRASHPOINT, "name" or "name:n": the process kills itself with SIGKILL when
// it reaches that point for the n-th time (1 without n). The children of a process inherit the variable, so "/path" names a
// file instead: each process that begins takes the first line out of it, and lives on when it is empty. The
// first line is a supervisor's. Tests inside a process set OnStore instead.
package crashpoint
