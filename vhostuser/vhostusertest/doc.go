// Package vhostusertest is the front-end's side of vhost-user, for tests, fuzzing and benches: it plays the part of QEMU.
//
// Conn is the socket: it sends and receives single messages with descriptors, well-formed or not, and knows no state.
// Payloads are built by functions of their own (payload.go) that share no code with the back-end, so that the two check
// each other. Frontend stands on it: it negotiates, shares memory, sets up queues and hands them out as virtiotest
// drivers, against any vhost-user back-end.
//
// A Conn and a Frontend belong to one goroutine; the drivers may each be given to another one. Waiting for the back-end
// ends after a deadline, so a test that fails does not hang.
package vhostusertest
