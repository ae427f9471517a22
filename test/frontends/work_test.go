package frontends

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/test/e2e/guest"
	"github.com/vublk/vublk/test/e2e/scribe"
)

// writers keep the disk busy: with each waiting for an fsync most of the time, some request is always in flight.
const writers = 3

// image is the page's.
const image = "/var/lib/vublk/vm.raw"

// What ends vublk. In the room there is no other one.
const (
	kill = "kill -KILL $(pidof vublk)"
	term = "kill -TERM $!; wait $!; echo status $?"
)

// newSession begins to work in dir.
func newSession(t *testing.T, dir string) *session {
	t.Helper()
	s := &session{t: t, host: newShell(t, dir)}
	t.Cleanup(func() {
		_, _ = s.host.run("kill -KILL $(pidof vublk)")
		if t.Failed() {
			console, _ := os.ReadFile(filepath.Join(dir, "console.log"))
			log, _ := os.ReadFile("/run/vublk/vm.log")
			t.Logf("so far:\n%s\nvublk said:\n%s\nthe guest's console:\n%s", s.text.String(), log, console)
		}
		_, _ = s.host.run("rm -rf /run/vublk /var/lib/vublk/*")
	})
	return s
}

// serve does what the page's block says of the back-end and returns the command that starts it. Front-ends that can reconnect
// need not wait for it. more are options that the page does not say.
func (s *session) serve(name, more string) (start string) {
	s.t.Helper()
	for _, command := range commands(snippet(s.t, name)) {
		if !strings.HasPrefix(command, "vublk serve ") && !strings.HasPrefix(command, "vublk daemon") {
			s.onHost(command)
			continue
		}
		start = strings.TrimSpace(command+" "+more) + " 2>>/run/vublk/vm.log &"
		s.onHost(start)
		if strings.HasPrefix(command, "vublk daemon") { // a command would not wait for it
			s.onHost("until vublk export list >/run/vublk/list 2>&1; do sleep 0.1; done")
		}
	}
	return start
}

// write has programs in the guest write and sync on a new file system.
func (s *session) write() {
	s.t.Helper()
	s.inGuest("/tools/mke2fs -q -t ext4 /dev/vda && mount -t ext4 /dev/vda /mnt")
	s.inGuest(guest.HungTask)
	s.inGuest(fmt.Sprintf("/tools/scribe /mnt %d /tmp/stop /tmp/rounds >/tmp/report 2>&1 &", writers))
	s.inGuest("sh /progress 10")
}

// harry ends vublk in each of the ways and starts it again, while the guest goes on.
func (s *session) harry(serve string, ends ...string) {
	s.t.Helper()
	for _, end := range ends {
		time.Sleep(200*time.Millisecond + rand.N(400*time.Millisecond)) // a moment by chance
		output := s.onHost(end)
		if end == term {
			equal(s.t, "vublk after SIGTERM", output, "status 0")
		}
		s.onHost(serve)
		s.inGuest("sh /progress 10")
	}
}

// end stops vublk for good.
func (s *session) end() {
	s.t.Helper()
	equal(s.t, "vublk after SIGTERM", s.onHost(term), "status 0")
}

// settle ends the writers in the guest and looks for complaints.
func (s *session) settle() (report scribe.Report) {
	t := s.t
	t.Helper()
	s.inGuest("touch /tmp/stop; while pidof scribe >/dev/null; do usleep 100000; done")
	must(t, json.Unmarshal([]byte(s.inGuest("cat /tmp/report")), &report))
	s.inGuest("umount /mnt")
	r, err := s.guest.Run("dmesg", guestTime)
	must(t, err)
	if found := guest.Complaints(r.Output); len(found) > 0 {
		t.Errorf("the guest's kernel complains:\n%s", strings.Join(found, "\n"))
	}
	return report
}

// checkRecords looks at the image from the host.
func checkRecords(t *testing.T, report scribe.Report) {
	t.Helper()
	m := guest.Image{Path: image}
	if err := m.Fsck(); err != nil {
		t.Errorf("file system of the image: %v", err)
	}
	tree := newDir(t)
	_, err := guest.Host("debugfs", "-R", "rdump / "+tree, image)
	must(t, err)
	n, err := scribe.Check(tree, writers)
	if err != nil {
		t.Error(err)
	}
	equal(t, "records that the host finds", int64(n), report.Records)
	t.Logf("the guest: %d records, %d fsyncs, the longest %v", report.Records, report.Syncs, report.Longest)
}
