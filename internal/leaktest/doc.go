// Package leaktest fails a test binary that ends with more descriptors, goroutines or shared mappings than it began
// with. Every package's TestMain calls Main or MainAfter.
//
// What is compared: the entries of /proc/self/fd, runtime.NumGoroutine, and the lines of /proc/self/maps that are
// shared or name a memfd or an io_uring. The kernel tears io_uring instances down asynchronously and goroutines end a
// moment after they are told to, so a difference counts only when it persists.
package leaktest
