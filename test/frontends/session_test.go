package frontends

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/test/e2e/guest"
)

// writeTranscript has TestLibvirt write the transcript that it is checked against otherwise.
var writeTranscript = flag.Bool("transcript", false, "write docs/libvirt-transcript.txt")

// guestTime is how long a command in a guest may take: it may have to wait for its disk.
const guestTime = 5 * time.Minute

// session is what is typed on the host and in a guest, and what is answered.
type session struct {
	t     *testing.T
	host  *shell
	guest *guest.Guest
	text  strings.Builder
}

func (s *session) note(prompt, command, output string) {
	s.text.WriteString(prompt + command + "\n")
	if output != "" {
		s.text.WriteString(output + "\n")
	}
}

// onHost types a command on the host and demands that it succeeds.
func (s *session) onHost(command string) string {
	s.t.Helper()
	output, status := s.host.run(command)
	s.note("host# ", command, output)
	if status != 0 {
		s.t.Fatalf("host: status %d of %s\n%s", status, command, output)
	}
	return output
}

// inGuest types a command in the guest and demands that it succeeds.
func (s *session) inGuest(command string) string {
	s.t.Helper()
	r, err := s.guest.Run(command, guestTime)
	must(s.t, err)
	output := strings.TrimSpace(r.Output)
	s.note("guest# ", command, output)
	if r.Status != 0 {
		s.t.Fatalf("guest: status %d of %s\n%s", r.Status, command, output)
	}
	return output
}

// numbers are what differs from run to run.
var numbers = regexp.MustCompile(`[0-9]+`)

// typed returns the commands of a transcript, and what virsh answers to them with its numbers hidden.
func typed(text string) string {
	var b strings.Builder
	virsh := false
	for line := range strings.Lines(text) {
		command := strings.HasPrefix(line, "host# ") || strings.HasPrefix(line, "guest# ")
		if command {
			virsh = strings.HasPrefix(line, "host# virsh ")
		}
		switch {
		case command:
			b.WriteString(line)
		case virsh && strings.TrimSpace(line) != "":
			b.WriteString(numbers.ReplaceAllString(strings.TrimRight(line, " \n"), "N") + "\n")
		}
	}
	return b.String()
}

// publish writes the transcript, or demands that the one in docs is of the same commands and answers.
func (s *session) publish(name, head string) {
	s.t.Helper()
	path := filepath.Join(lab.repo, "docs", name)
	text := head + "\n" + s.text.String()
	if *writeTranscript {
		must(s.t, os.WriteFile(path, []byte(text), 0o644))
		return
	}
	kept, err := os.ReadFile(path)
	must(s.t, err)
	if got, want := typed(text), typed(string(kept)); got != want {
		s.t.Errorf("%s is of other commands or answers; go test ./test/frontends -transcript writes it anew. This run:\n%s\nThe file:\n%s", path, got, want)
	}
}
