package api

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// lab is what all tests share and none changes.
var lab struct{ vublk, client string }

func TestMain(m *testing.M) { leaktest.MainAfter(m, prepare) }

func prepare() error {
	repo, err := guest.Setup()
	if err != nil {
		return err
	}
	if lab.vublk, err = guest.BuildVublk(); err != nil {
		return err
	}
	lab.client = filepath.Join(repo, "build", "guest", "bin", "qemu-client")
	return guest.Build(filepath.Join(repo, "examples", "qemu"), lab.client, ".")
}

// hello is what the boot sector says on the serial port.
const hello = "a sector of vublk's\r\n"

// bootSector says hello, writes itself to the second sector, and switches the machine off.
func bootSector() []byte {
	code := []byte{
		0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, // xor ax, ax; mov ds, ax; mov es, ax
		0xbe, 0, 0, // mov si, text
		0xac, 0x84, 0xc0, 0x74, 0x06, // next: lodsb; test al, al; jz done
		0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5, // mov dx, 0x3f8; out dx, al; jmp next
		0xb8, 0x01, 0x03, 0xbb, 0x00, 0x7c, // done: mov ax, 0x0301 (write 1 sector); mov bx, 0x7c00
		0xb9, 0x02, 0x00, 0xba, 0x80, 0x00, 0xcd, 0x13, // mov cx, 2 (the second); mov dx, 0x80 (first disk); int 0x13
		0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, // mov dx, 0x604; mov ax, 0x2000; out dx, ax (ACPI: off)
		0xf4, 0xeb, 0xfd, // hlt; jmp there
	}
	text := 0x7c00 + len(code)
	code[7], code[8] = byte(text), byte(text>>8)
	sector := make([]byte, 512)
	copy(sector, append(append(code, hello...), 0))
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

// TestExample: the program has a disk made, its machine boots from it and writes to it, and nothing is left but the image.
func TestExample(t *testing.T) {
	dir, err := os.MkdirTemp("", "vublk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	at := func(name string) string { return filepath.Join(dir, name) }
	daemon, err := guest.StartBackend(at("log"), []string{at("control.sock")}, lab.vublk, "daemon", "--state-dir="+at("state"), "--listen="+at("control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(daemon.Kill)
	image := make([]byte, 1<<20)
	copy(image, bootSector())
	if err := os.WriteFile(at("vm.raw"), image, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, lab.client, append([]string{"-daemon=" + at("control.sock"), "-dir=" + dir}, args...)...)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // so that QEMU ends, too
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run("-image="+at("vm.raw"), "-size=0", "-memory=64M", "--", "-accel", "tcg", "-nodefaults", "-display", "none", "-serial", "file:"+at("serial"))
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, daemon.Log())
	}
	for _, said := range []string{"vm: events from now on", "vm: it was created", "vm: it is attached now"} {
		if !strings.Contains(out, said) {
			t.Errorf("%q is missing in:\n%s", said, out)
		}
	}
	if serial, err := os.ReadFile(at("serial")); err != nil || !strings.Contains(string(serial), hello) {
		t.Errorf("the machine said %q, %v", serial, err)
	}
	now, err := os.ReadFile(at("vm.raw"))
	if err != nil || !bytes.Equal(now[512:1024], bootSector()) || !bytes.Equal(now[:512], bootSector()) {
		t.Errorf("the machine did not write its sector: %v", err)
	}
	if list, err := exec.Command(lab.vublk, "export", "list", "--daemon="+at("control.sock")).Output(); err != nil || strings.Count(string(list), "\n") != 1 {
		t.Errorf("the export is still there: %s, %v", list, err)
	}
	if out, err := run("-image="+at("none.raw"), "-size=0"); err == nil || !strings.Contains(out, "none.raw does not exist") {
		t.Errorf("without an image: %v: %s", err, out)
	}
	if err := daemon.Stop(); err != nil {
		t.Error(err)
	}
}
