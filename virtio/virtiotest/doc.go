// Package virtiotest is the driver's side of virtqueues, as a guest would be, for tests and benchmarks of devices.
//
// Memory is a guest's RAM: memfds with the addresses that a vhost-user front-end would send. A Driver is one virtqueue
// in it, split or packed: Add builds chains with any framing, Publish makes them available and kicks if the device
// wants that, Reap returns what came back and checks it (completed exactly once, index monotone, length plausible).
// Split and Packed give raw access to the rings for drivers that misbehave.
//
//	m, err := virtiotest.NewMemory(virtiotest.RAM(64 << 20))
//	d, err := virtiotest.NewDriver(m, virtiotest.Options{Size: 128, Features: virtio.FeatureVersion1})
//	buf, err := m.Alloc(4096, 512)
//	id, err := d.Add(virtiotest.Request{Writable: []virtiotest.Area{{GPA: buf, Len: 4096}}})
//	_, err = d.Publish()
//	done, ok, err := d.Reap() // not ok: EnableCalls, and if that finds nothing either, WaitCall
//
// The example of package virtio shows both sides. Memory, drivers and logs are closed by who made them, the memory last.
//
// The device is not trusted: Reap returns an error for what no device may do, and a driver can look at everything that was
// written. Errors of everything else are the test's own: no room, or the kernel's. A Driver belongs to one goroutine, the device may run in another one or in another process. Add, Publish, Reap,
// EnableCalls and DisableCalls do not allocate. The ring code here shares nothing with package virtio: a mistake would
// have to be made twice to go unseen.
//
// Read next: driver.go, then split.go and packed.go.
package virtiotest
