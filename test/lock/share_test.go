package lock

import (
	"strings"
	"testing"

	"github.com/vublk/vublk/internal/cli/clitest"
)

// readers are tools of QEMU that look at an image and leave it as it is.
func readers(path string) map[string][]string {
	return map[string][]string{
		"qemu-img info": {"qemu-img", "info", "-f", "raw", path},
		"qemu-img cmp":  {"qemu-img", "compare", "-f", "raw", "-F", "raw", path, path},
		"qemu-io":       {"qemu-io", "-r", "-f", "raw", "-c", "read -P 0x30 0 4096", path},
	}
}

// TestReadersShare: two vublk and QEMU's tools read one image at the same time, and none of them can write.
func TestReadersShare(t *testing.T) {
	onImages(t, func(t *testing.T, i image) {
		holder := start(t, "qemu-io", "-r", "-f", "raw", "-c", "read 0 512", "-c", "sleep 60000", i.path)
		holder.awaitByte(i.path, 100)
		exported := start(t, daemon(t, i.path, "off")...)
		exported.awaitByte(i.path, 100)
		a, at := serving(t, i.path, "--read-only")
		b, bt := serving(t, i.path, "--read-only")
		first, second := attach(t, at), attach(t, bt)
		for name, argv := range readers(i.path) {
			if out := tool(t, argv...); strings.Contains(out, "Pattern verification failed") {
				t.Errorf("%s: %s", name, out)
			}
		}
		for _, g := range []*clitest.Guest{first, second} {
			expect(t, "through vublk", read(t, g, 0, 4096), pattern('0', 4096))
			if status := g.Do(0, clitest.Out, 0, pattern('x', 512)); status != clitest.StatusIOErr {
				t.Errorf("write to a read-only disk: status %d", status)
			}
		}
		for _, p := range []*process{a, b} {
			p.end()
		}
		expect(t, "the image", i.bytes(t, imageSize), pattern('0', imageSize))
	})
}

// TestReadersOfQEMU: QEMU's tools that only read a raw image agree to share it with a writer, whoever that is. vublk
// follows the scheme, so they are let in beside it exactly as beside QEMU.
func TestReadersOfQEMU(t *testing.T) {
	for name, hold := range map[string]func(t *testing.T, path string){
		"beside vublk": func(t *testing.T, path string) { serving(t, path) },
		"beside QEMU":  func(t *testing.T, path string) { writers[0].hold(t, path) },
	} {
		t.Run(name, func(t *testing.T) {
			i := images[0].make(t)
			hold(t, i.path)
			for reader, argv := range readers(i.path) {
				if status, out := run(t, argv...); status != 0 {
					t.Errorf("%s: status %d\n%s", reader, status, out)
				}
			}
		})
	}
}
