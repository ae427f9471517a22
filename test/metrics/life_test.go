package metrics

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/test/e2e/guest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// TestSupervised: metrics are told again by whoever takes the place of a worker that was killed, or upgraded, at the same
// address; and they tell of the session that went on.
func TestSupervised(t *testing.T) {
	dir := t.TempDir()
	address := filepath.Join(dir, "m.sock")
	p := serve(t, dir, address, []string{"a=store=null:1M", "b=blk-file=" + newImage(t, dir, "b.raw")}, "--supervise")
	g := clitest.Attach(t, filepath.Join(dir, "b"), vhostusertest.Options{})
	do := func() {
		t.Helper()
		if status := g.Do(0, clitest.Out, 0, make([]byte, 512)); status != 0 {
			t.Fatalf("write: status %d", status)
		}
	}
	do()
	worker, err := p.Worker(0)
	must(t, err)
	for i, end := range []func(){
		func() { must(t, guest.KillProcess(worker)) },
		func() { must(t, syscall.Kill(p.PID(), syscall.SIGUSR2)) },
	} {
		end()
		await(t, "another worker", func() bool {
			next, err := p.Worker(worker)
			must(t, err)
			worker = next
			return true
		})
		do()
		await(t, "metrics of a session that went on", func() bool {
			status, text := p.get("/metrics")
			return status == 200 && strings.Contains(text, `vublk_export_resumes_total{export="b"} 1`)
		})
		if got := p.scrape("/metrics")["vublk_requests_total b write 0"]; got != 1 {
			t.Errorf("after %d: %v writes, want 1", i, got)
		}
		for _, page := range []string{"/healthz", "/readyz"} {
			if status, text := p.get(page); status != 200 {
				t.Errorf("after %d: %s is %d %s", i, page, status, text)
			}
		}
	}
}

// TestTakeOver: who takes exports over has the address as soon as the process before has let go of it.
func TestTakeOver(t *testing.T) {
	dir := t.TempDir()
	image := newImage(t, dir, "a.raw")
	old := serve(t, dir, filepath.Join(dir, "m"), []string{"a=blk-file=" + image})
	g := clitest.Attach(t, filepath.Join(dir, "a"), vhostusertest.Options{})
	if status := g.Do(0, clitest.Out, 0, make([]byte, 512)); status != 0 {
		t.Fatalf("write: status %d", status)
	}
	p := serve(t, dir, filepath.Join(dir, "m"), []string{"a=blk-file=" + image}, "--take-over")
	await(t, "the new process tells metrics", func() bool {
		status, text := p.get("/metrics")
		return status == 200 && strings.Contains(text, `vublk_export_resumes_total{export="a"} 1`)
	})
	await(t, "the old process has ended", func() bool { return !old.Running() })
}

// TestNotReady: while an image is locked the process lives and is not ready, and says what is missing.
func TestNotReady(t *testing.T) {
	dir := t.TempDir()
	path := newImage(t, dir, "a.raw")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer func() { _ = f.Close() }()
	// QEMU's locks are OFD locks on single bytes from 100 on; a write lock on all of them conflicts with each.
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: 100, Len: 200}
	must(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock))
	address := filepath.Join(dir, "m.sock")
	argv := []string{vublk, "serve", "--metrics=" + address, "--export=name=locked,socket-path=" + filepath.Join(dir, "a") + ",blk-file=" + path}
	p := start(t, dir, address, []string{address}, argv)
	await(t, "it waits for the lock", func() bool {
		status, text := p.get("/metrics")
		return status == 200 && strings.Contains(text, `state="waiting for lock"} 1`)
	})
	if status, text := p.get("/readyz"); status != 503 || !strings.Contains(text, "locked") {
		t.Errorf("readyz: %d %s", status, text)
	}
	if status, _ := p.get("/healthz"); status != 200 {
		t.Errorf("healthz: %d", status)
	}
	if up, ok := p.scrape("/metrics")["vublk_export_up locked"]; up != 0 || !ok {
		t.Errorf("up: %v, %v", up, ok)
	}
	lock.Type = unix.F_UNLCK
	must(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock))
	await(t, "it is ready", func() bool {
		status, _ := p.get("/readyz")
		return status == 200
	})
}

// TestAddressIsTaken: by another process that stays; nothing is served then.
func TestAddressIsTaken(t *testing.T) {
	dir := t.TempDir()
	first := serve(t, dir, "127.0.0.1:0", []string{"a=store=null:1M"})
	begin := time.Now()
	second := filepath.Join(dir, "second")
	_, err := guest.StartBackend(filepath.Join(dir, "log2"), []string{second}, vublk, "serve", "--metrics="+first.address(),
		"--socket-path="+second, "--store=null:1M")
	if err == nil || !strings.Contains(err.Error(), "exit status 2") || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}
