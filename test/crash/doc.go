// Package crash kills the real program, again and again, under a guest that does not notice.
//
// A life (life_test.go) is one guest: a native front-end whose queues each have several requests in flight, of all kinds
// and sizes (load_test.go). Its back-end is killed at moments by chance, comes back in one of several ways (backend_test.go),
// and finds the guest's queues and memory as they were. Then
//
//   - what the guest was told is written is read, by the guest and by the host from the image: nothing is lost;
//   - each request ends in time: none is stuck;
//   - each ends once, with its status written: none completes twice.
//
// Every write that was answered must survive, flushed or not: a kill takes nothing that the kernel has. What a power cut may
// take is the subject of test/fusedisk and test/replay.
//
// The same lives under qemu-storage-daemon, which has no record of what is in flight, show that the checks can fail.
//
// A supervised vublk is also upgraded under such guests (upgraded_test.go), to programs that work and that do not
// (refused_test.go); what the supervisor's own end means is in supervisor_test.go. VUBLK_UPGRADE_FROM=COMMIT chooses the other
// commit.
//
// VUBLK_SEED repeats the random decisions of a run; the moments of the kills are not among what can be repeated exactly.
package crash
