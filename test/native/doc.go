// Package native tests the real program with a native front-end: virtqueues and buffers exactly as a test wants them,
// without a guest in between that would align and merge them.
//
// Each test starts vublk on a file or a loop device, drives it through package vhostusertest, stops it by SIGTERM and
// looks at the disk from the host. pump_test.go keeps slots of a queue busy, buffer_test.go lays their memory out,
// content_test.go says what is in a sector; the tests are in readback_test.go, sectors_test.go and
// grow_test.go.
//
// The loop device needs root and losetup; without them the test fails and says so.
package native
