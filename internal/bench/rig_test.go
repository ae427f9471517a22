package bench

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/vhostuser"
)

const mib = 1 << 20

// serve runs a back-end in this process and returns its socket.
func serve(t *testing.T, disk blk.Disk, o blk.DeviceOptions) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	pool, err := blk.NewPool(blk.PoolOptions{Workers: 1, Slots: 256})
	if err != nil {
		t.Fatal(err)
	}
	dev, err := pool.NewDevice(disk, o)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := vhostuser.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	var sessions sync.WaitGroup
	sessions.Go(func() { accept(t, listener, dev) })
	t.Cleanup(func() {
		_ = listener.Close()
		sessions.Wait()
		for _, f := range []func() error{dev.Close, pool.Close} {
			if err := f(); err != nil {
				t.Error(err)
			}
		}
	})
	return socket
}

// accept serves one front-end after the other until the listener is closed.
func accept(t *testing.T, l *vhostuser.Listener, dev *blk.Device) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		if err := vhostuser.NewSession(conn, dev, vhostuser.Options{}).Serve(context.Background()); err != nil {
			t.Errorf("session: %v", err)
		}
	}
}

func memDisk(t *testing.T, size int64) blk.Disk {
	t.Helper()
	m, err := blk.NewMem(size)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
