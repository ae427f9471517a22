package frontends

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vublk/vublk/test/e2e/guest"
)

// startLibvirtd starts the real one, in the foreground; all that it keeps is in the room.
func startLibvirtd(t *testing.T) {
	t.Helper()
	const log = "/run/room/libvirtd.log"
	d, err := guest.StartBackend(log, []string{"/run/libvirt/libvirt-sock"}, "libvirtd")
	must(t, err)
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			qemu, _ := filepath.Glob("/var/log/libvirt/qemu/*.log")
			for _, path := range append(qemu, log) {
				text, _ := os.ReadFile(path)
				t.Logf("%s:\n%s", path, text)
			}
		}
	})
}

// domain is the page's, with what makes it start here: an emulated CPU, and our kernel with our agent.
func domain(t *testing.T, dir string) string {
	t.Helper()
	kernel, initramfs := bootFiles(t, dir)
	xml := replaced(t, snippet(t, "domain"), "<domain type='kvm'>", "<domain type='qemu'>")
	xml = replaced(t, xml, "</os>", fmt.Sprintf("  <kernel>%s</kernel>\n    <initrd>%s</initrd>\n    <cmdline>%s</cmdline>\n  </os>", kernel, initramfs, guest.KernelWords))
	return replaced(t, xml, "</devices>", fmt.Sprintf("  <serial type='file'><source path='%s/console.log'/></serial>\n"+
		"    <channel type='unix'>\n      <source mode='connect' path='%s'/>\n      <target type='virtio' name='%s'/>\n    </channel>\n  </devices>",
		dir, guest.AgentSocket(dir), guest.AgentPort))
}

// TestLibvirt has libvirt define and start a domain whose disk is vublk's. vublk dies and ends again and again under a guest
// that writes and syncs, and must not notice.
func TestLibvirt(t *testing.T) {
	startLibvirtd(t)
	dir := newDir(t)
	must(t, os.WriteFile(filepath.Join(dir, "vm.xml"), []byte(domain(t, dir)), 0o644))
	s := newSession(t, dir)
	t.Cleanup(func() { _, _ = s.host.run("virsh destroy vm") })
	s.onHost("virsh version")
	serve := s.serve("daemon", "")
	lifecycle := commands(snippet(t, "virsh"))
	if len(lifecycle) != 5 {
		t.Fatalf("the page's commands for virsh are %q: define, start, domblklist, destroy, undefine are what this test knows", lifecycle)
	}
	s.onHost(lifecycle[0])
	g, err := guest.Await(dir, func() error { s.onHost(lifecycle[1]); return nil })
	must(t, err)
	t.Cleanup(g.Close)
	s.guest = g
	s.onHost(lifecycle[2])
	_, err = g.WaitReady()
	must(t, err)

	s.write()
	s.harry(serve, kill, term, kill, term)
	report := s.settle()

	s.onHost(lifecycle[3])
	s.onHost(lifecycle[4])
	equal(t, "what virsh knows afterwards", s.onHost("virsh list --all --name"), "")
	s.end()
	checkRecords(t, report)
	s.publish("libvirt-transcript.txt", "What TestLibvirt (test/frontends) typed, and what was answered. The domain is the one of frontends.md, with an emulated\n"+
		"CPU (type='qemu'), a kernel, an initramfs and a channel for the commands in the guest. scribe writes records, syncs them,\n"+
		"drops what is cached and reads them back, with three writers; progress waits for so many more.\n")
}
