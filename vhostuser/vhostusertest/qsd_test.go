package vhostusertest_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// storageDaemon starts QEMU's storage daemon, a back-end that is not ours, on an empty image of 1 MiB. It needs
// qemu-storage-daemon to be installed.
func storageDaemon(t *testing.T) (socket string) {
	t.Helper()
	dir := t.TempDir()
	image := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "sock")
	var stderr bytes.Buffer
	cmd := exec.Command("qemu-storage-daemon",
		"--blockdev", "driver=file,node-name=disk,filename="+image,
		"--export", "type=vhost-user-blk,id=e,node-name=disk,writable=on,num-queues=2,"+
			"addr.type=unix,addr.path="+socket)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		<-exited
	})
	for deadline := time.Now().Add(vhostusertest.Timeout); ; time.Sleep(10 * time.Millisecond) {
		if listening(t, socket) {
			return socket
		}
		select {
		case <-exited:
			t.Fatalf("qemu-storage-daemon: %s", stderr.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("qemu-storage-daemon does not listen")
		}
	}
}

// listening tells whether somebody listens to a socket: its name is there before that, and a connection would count.
func listening(t *testing.T, socket string) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	const flags, accepts, path = 3, "00010000", 7 // __SO_ACCEPTCON
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > path && f[path] == socket && f[flags] == accepts {
			return true
		}
	}
	return false
}

// blockRequest is a virtio-blk request in guest memory (virtio-v1.3 5.2.6).
type blockRequest struct{ header, data, status guestmem.GPA }

func newBlockRequest(t *testing.T, m *virtiotest.Memory) (r blockRequest) {
	t.Helper()
	for gpa, n := range map[*guestmem.GPA]uint64{&r.header: 16, &r.data: 4096, &r.status: 1} {
		var err error
		if *gpa, err = m.Alloc(n, n); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// do runs one request of 4096 bytes and wants it to succeed.
func (r blockRequest) do(t *testing.T, d *virtiotest.Driver, write bool, sector uint64) {
	t.Helper()
	data := virtiotest.Area{GPA: r.data, Len: 4096}
	req := virtiotest.Request{
		Readable: []virtiotest.Area{{GPA: r.header, Len: 16}},
		Writable: []virtiotest.Area{{GPA: r.status, Len: 1}},
	}
	kind := uint64(0) // VIRTIO_BLK_T_IN
	if write {
		kind = 1 // VIRTIO_BLK_T_OUT
		req.Readable = append(req.Readable, data)
	} else {
		req.Writable = append([]virtiotest.Area{data}, req.Writable...)
	}
	d.Memory().Write(r.header, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, kind), sector))
	d.Memory().Write(r.status, []byte{0xff})
	if _, err := d.Add(req); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Publish(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, d)
	status := make([]byte, 1)
	if d.Memory().Read(r.status, status); status[0] != 0 {
		t.Fatalf("status %d", status[0])
	}
}

// waitFor waits for one completion.
func waitFor(t *testing.T, d *virtiotest.Driver) {
	t.Helper()
	for {
		if _, ok, err := d.Reap(); err != nil {
			t.Fatal(err)
		} else if ok {
			return
		}
		if d.EnableCalls() {
			continue
		}
		if called, err := d.WaitCall(vhostusertest.Timeout); err != nil || !called {
			t.Fatalf("no call: %v", err)
		}
	}
}

// Somebody else's back-end understands our front-end, which is what makes it a judge of ours.
func TestAgainstQEMUStorageDaemon(t *testing.T) {
	f, err := vhostusertest.Connect(storageDaemon(t), vhostusertest.Options{Queues: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	config, err := f.Config(0, 60)
	if err != nil {
		t.Fatal(err)
	}
	if sectors := binary.LittleEndian.Uint64(config); sectors != 2048 {
		t.Fatalf("capacity of %d sectors, want 2048", sectors)
	}
	r := newBlockRequest(t, f.Memory())
	for round := range 3 {
		if err := f.Start(); err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte{byte(round + 1)}, 4096)
		f.Memory().Write(r.data, want)
		r.do(t, f.Queue(0), true, uint64(8*round))
		f.Memory().Write(r.data, make([]byte, 4096))
		r.do(t, f.Queue(1), false, uint64(8*round))
		got := make([]byte, 4096)
		if f.Memory().Read(r.data, got); !bytes.Equal(got, want) {
			t.Fatalf("round %d: read % x", round, got[:16])
		}
		if err := f.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}
