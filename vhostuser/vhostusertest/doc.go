// Package vhostusertest is the front-end's side of vhost-user, for tests, fuzzing and benches: it plays the part of QEMU.
//
// Conn is the socket: it sends and receives single messages with descriptors, well-formed or not, and knows no state.
// Payloads are built by functions of their own (payload.go) that share no code with the back-end, so that the two check
// each other. Frontend stands on it: it negotiates, shares memory, sets up queues and hands them out as virtiotest
// drivers, against any vhost-user back-end:
//
//	front, err := vhostusertest.Connect(path, vhostusertest.Options{Queues: 2})
//	buffer, err := front.Memory().Alloc(4096, 512)
//	err = front.Start()                           // every queue is started and enabled
//	_, err = front.Queue(0).Add(virtiotest.Request{…})
//	_, err = front.Queue(0).Publish()
//	_, err = front.Queue(0).WaitCall(time.Second) // then Reap
//	err = front.Stop()                            // drained
//	err = front.Close()                           // the connection and the guest
//
// A Conn and a Frontend belong to one goroutine; the drivers may each be given to another one. Waiting for the back-end
// ends after Timeout, so a test that fails does not hang. The caller closes what it has made; memory, queues and eventfds
// are the Frontend's and go with Close. The back-end is not trusted: what it answers is checked. An error of any method here says
// what the back-end did wrong, or that it did not answer in time; io.EOF, that it has closed the connection.
//
// Read next: Frontend, then package virtiotest.
package vhostusertest
