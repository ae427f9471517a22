// Package points kills the real program at named points (internal/crashpoint), under its supervisor and a front-end that
// does nothing about it: between two stores, in the middle of each message of a session, during a hand-over, during the
// recovery from an earlier kill.
//
// A life (life_test.go) is one guest and one supervised vublk, whose workers each have a point to die at, or none. The
// script (script_test.go) is what its front-end and its driver do from the first message to the last. Every message must get
// its answer once and every request its completion once, and what was written must be read.
//
// At two points nobody can know whether an answer left. There the connection may end, and the front-end connects again and
// does what QEMU does; at no other point is that allowed.
package points
