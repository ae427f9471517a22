package main

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// host is a daemon that runs, and commands that speak to it.
type host struct {
	t      *testing.T
	dir    string
	socket string
	args   []string // of the daemon
	daemon *clitest.Process
}

func newHost(t *testing.T, args ...string) *host {
	t.Helper()
	dir := t.TempDir()
	h := &host{t: t, dir: dir, socket: filepath.Join(dir, "control.sock"), args: args}
	h.start()
	t.Cleanup(func() { // a supervisor that is killed leaves a worker
		if h.daemon.Running() {
			h.daemon.Signal(syscall.SIGTERM)
			_ = h.daemon.Status()
		}
	})
	return h
}

func (h *host) start() {
	h.t.Helper()
	args := []string{"daemon", "--state-dir=" + filepath.Join(h.dir, "state"), "--listen=" + h.socket, "--workers=1"}
	h.daemon = clitest.Start(h.t, clitest.Options{}, append(args, h.args...)...)
	h.daemon.Await("msg=ready")
}

func (h *host) options() clitest.Options {
	return clitest.Options{Dir: h.dir, Env: []string{daemonVariable + "=" + h.socket}}
}

// run runs a command and expects that exit status.
func (h *host) run(status int, args ...string) (stdout, stderr string) {
	h.t.Helper()
	got, stdout, stderr := clitest.Run(h.t, h.options(), args...)
	if got != status {
		h.t.Fatalf("vublk %s: status %d, want %d: %s%s", strings.Join(args, " "), got, status, stdout, stderr)
	}
	return stdout, stderr
}

// does runs a command that must do without complaint, and returns what it wrote.
func (h *host) does(args ...string) string {
	h.t.Helper()
	stdout, stderr := h.run(0, args...)
	if stderr != "" {
		h.t.Errorf("vublk %s: %s", strings.Join(args, " "), stderr)
	}
	return stdout
}

func (h *host) create(name string) {
	h.t.Helper()
	h.does("export", "create", name, "--socket-path="+name+".sock", "--blk-file="+name+".raw", "--create-size=1MiB")
}

func wantAll(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}

// TestExportCommands takes an export through its life, by hand.
func TestExportCommands(t *testing.T) {
	h := newHost(t)
	said := h.does("export", "create", "vm", "--socket-path=vm.sock", "--blk-file=vm.raw", "--create-size=1MiB", "--cache=writethrough")
	wantAll(t, said, "vm: listening at "+h.dir+"/vm.sock, 1MiB")
	h.create("other")
	wantAll(t, h.does("export", "list"), "NAME", "vm", "other", "listening", h.dir+"/vm.raw")
	if list := h.does("export", "list", "v"); strings.Contains(list, "other") {
		t.Errorf("a prefix does not select:\n%s", list)
	}
	wantAll(t, h.does("export", "show", "vm"), "state                listening", "cache                writethrough", "size                 1MiB")
	wantAll(t, h.does("export", "resize", "vm", "2MiB"), "vm: 2MiB, was 1MiB")
	if st, err := os.Stat(filepath.Join(h.dir, "vm.raw")); err != nil || st.Size() != 2<<20 {
		t.Errorf("the file: %v, %v", st, err)
	}
	wantAll(t, h.does("export", "resize", "vm", "1MiB", "--shrink"), "vm: 1MiB, was 2MiB")
	wantAll(t, h.does("export", "set", "vm", "cache=auto", "flush-error=retry", "config-wce"), "vm: cache=auto, flush-error=retry, config-wce")
	wantAll(t, h.does("export", "show", "vm"), "cache                auto", "flush-error          retry", "config-wce           on")
	wantAll(t, h.does("export", "clear-error", "vm"), "vm: no flush had failed")
	wantAll(t, h.does("export", "drain", "vm", "other"), "vm: drained", "other: drained")
	if _, err := os.Stat(filepath.Join(h.dir, "vm.sock")); !os.IsNotExist(err) {
		t.Errorf("a drained export has its socket still: %v", err)
	}
	h.daemon.Stop()
	h.start() // and remembers
	wantAll(t, h.does("export", "show", "vm"), "state                drained", "flush-error          retry")
	wantAll(t, h.does("export", "start", "vm"), "vm: listening")
	wantAll(t, h.does("export", "delete", "vm", "other"), "vm: deleted", "other: deleted")
	if list := h.does("export", "list"); strings.Count(list, "\n") != 1 {
		t.Errorf("something is left:\n%s", list)
	}
	for _, image := range []string{"vm.raw", "other.raw"} {
		if _, err := os.Stat(filepath.Join(h.dir, image)); err != nil {
			t.Errorf("the image has gone: %v", err)
		}
	}
}

// TestExportJSON: the names are those of the .proto, every one is there, and the form does not vary.
func TestExportJSON(t *testing.T) {
	h := newHost(t)
	h.create("vm")
	one := h.does("export", "show", "vm", "--output=json")
	for range 3 {
		if again := h.does("export", "show", "vm", "--output=json"); again != one {
			t.Errorf("the form varies:\n%s\n%s", one, again)
		}
	}
	var e struct {
		Definition map[string]any
		State      string
		Capacity   string `json:"capacity_bytes"`
		FlushError *bool  `json:"flush_error"`
	}
	if err := json.Unmarshal([]byte(one), &e); err != nil || e.State != "STATE_LISTENING" || e.Capacity != "1048576" || e.FlushError == nil {
		t.Errorf("%v: %s", err, one)
	}
	if e.Definition["socket_path"] != h.dir+"/vm.sock" || e.Definition["num_queues"] != 256.0 || e.Definition["read_only"] != false {
		t.Errorf("definition: %v", e.Definition)
	}
	var all struct {
		Exports []any
	}
	for _, args := range [][]string{{"export", "list"}, {"stats"}} {
		if err := json.Unmarshal([]byte(h.does(append(args, "--output=json")...)), &all); err != nil || len(all.Exports) != 1 {
			t.Errorf("%v: %v, %v", args, all, err)
		}
	}
	for _, args := range [][]string{
		{"export", "resize", "vm"},
		{"export", "set", "vm", "flush-error=retry"},
		{"export", "clear-error", "vm"},
		{"export", "drain", "vm"},
		{"export", "start", "vm"},
		{"export", "delete", "vm"},
		{"export", "create", "vm", "--socket-path=vm.sock", "--store=null:1GiB"},
	} {
		if said := h.does(append(args, "--output=json")...); !json.Valid([]byte(said)) {
			t.Errorf("%v: %s", args, said)
		}
	}
}

// TestClientMistakes: each is one line that says what is wrong and the way out, with the exit status of something not begun.
func TestClientMistakes(t *testing.T) {
	h := newHost(t)
	h.create("vm")
	for _, c := range []struct {
		args string
		says []string
	}{
		{"export", []string{"a command is missing", "--help"}},
		{"export crate", []string{`unknown command "crate"`, "did you mean create?"}},
		{"export show", []string{"needs the name of one export"}},
		{"export show wm", []string{`no export is called "wm"`, "vublk export list"}},
		{"export create a --blk-file=vm.raw", []string{"--socket-path: missing"}},
		{"export create a b", []string{`unexpected argument "b"`}},
		{"export create a --socket-path=a.sock --blk-file=a.raw", []string{": --blk-file=", "a.raw does not exist"}},
		{"export create a --socket-path=vm.raw --store=null:1GiB", []string{": --socket-path=", "not a socket"}},
		{"export create a --socket-path=a.sock --blk-file=vm.raw", []string{"--blk-file=", "export vm serves the same image"}},
		{"export create vm --socket-path=a.sock --store=null:1GiB", []string{"--name=vm", "already"}},
		{"export create a --socket-path=vm.sock --store=null:1GiB", []string{"export vm has this socket"}},
		{"export create a --socket-path=a.sock --store=nul:1GiB", []string{"--store=nul:1GiB", "null:SIZE"}},
		{"export create a --socket-path=a.sock --blk-file=b.raw --create-size=7", []string{"--create-size=7"}},
		{"export create a --socket-path=a.sock --blk-file=b.raw --create-size=x", []string{"--create-size=x"}},
		{"export resize vm 512KiB", []string{"vm", "shrink"}},
		{"export resize vm 2000001", []string{": SIZE=2000001: not a whole number"}},
		{"export resize vm big", []string{"SIZE=big"}},
		{"export resize", []string{"needs an export and a size"}},
		{"export set vm", []string{"needs an export and what to change"}},
		{"export set vm cach=auto", []string{"cach", "did you mean cache?"}},
		{"export set vm cache=fast", []string{"cache=fast", "writethrough"}},
		{"export set vm cache", []string{"cache: needs a value"}},
		{"export set vm cache=auto cache=auto", []string{"given twice"}},
		{"export set vm blk-file=x", []string{"blk-file=x", "create another export"}},
		{"export show \xff", []string{`"\xff": not UTF-8`}},
		{"export create a --socket-path=\xff.sock --store=null:1GiB", []string{`--socket-path="\xff.sock": not UTF-8`}},
		{"stats \xff", []string{`"\xff": not UTF-8`}},
		{"export drain", []string{"needs the names of exports"}},
		{"export delete wm", []string{`"wm"`}},
		{"stats wm", []string{`"wm"`}},
		{"stats --watch=1ms", []string{"interval_ns=1000000", "100 ms"}},
		{"stats --watch=soon", []string{"soon", "write 500ms"}},
		{"top --sort=weight", []string{"--sort=weight"}},
		{"export list --daemon=" + strings.Repeat("x", 200), []string{"no path of a Unix socket"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			stdout, stderr := h.run(2, strings.Fields(c.args)...)
			if stdout != "" || !oneLine(stderr) {
				t.Errorf("not one line: %q %q", stdout, stderr)
			}
			wantAll(t, stderr, append(c.says, "vublk "+strings.Fields(c.args)[0])...)
		})
	}
	_, stderr := h.run(1, "export", "drain", "nil", "vm", "nix") // something was begun
	wantAll(t, stderr, `nil: no export`, `nix: no export`, "2 of 3 failed")
	_, stderr = h.run(2, "export", "drain", "nil", "nix")
	wantAll(t, stderr, "2 of 2 failed")
	if _, err := os.Stat(filepath.Join(h.dir, "b.raw")); !os.IsNotExist(err) {
		t.Errorf("a command that failed left an image: %v", err)
	}
}

// TestNoDaemon: what every command says when nobody is there, or somebody else.
func TestNoDaemon(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	if err := vhostusertest.StaleSocket(stale); err != nil {
		t.Fatal(err)
	}
	for _, socket := range []string{filepath.Join(dir, "none"), stale} {
		for _, args := range []string{"export list", "export show vm", "export delete vm", "stats", "stats --watch=1s", "events", "top", "top --once"} {
			status, stdout, stderr := clitest.Run(t, clitest.Options{Env: []string{daemonVariable + "=" + socket}}, strings.Fields(args)...)
			if status != 2 || stdout != "" || !oneLine(stderr) {
				t.Errorf("%s: status %d, %q, %q", args, status, stdout, stderr)
			}
			wantAll(t, stderr, "no daemon listens at "+socket, "vublk daemon", "--daemon=SOCKET", daemonVariable)
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "mute")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	status, _, stderr := clitest.Run(t, clitest.Options{}, "export", "list", "--timeout=2s", "--daemon="+filepath.Join(dir, "mute"))
	if status != 1 || !strings.Contains(stderr, "--timeout=2s") {
		t.Errorf("somebody who does not answer: status %d, %q", status, stderr)
	}
}

// TestCompletion asks the daemon for names, and says nothing when there is none.
func TestCompletion(t *testing.T) {
	h := newHost(t)
	for _, name := range []string{"web1", "web2", "db"} {
		h.create(name)
	}
	for args, want := range map[string]string{
		"export show we":          "web1\tlistening web2\tlistening",
		"export drain web1 we":    "web2\tlistening",
		"stats d":                 "db\tlistening",
		"export show web1 ":       "",
		"export resize web1 ":     "",
		"top --sort=p99 d":        "db\tlistening",
		"export set db flush-err": "flush-error=\tafter a failed flush all later ones fail until SIGUSR1 (sticky), or the next is tried (retry)",
	} {
		words := strings.Split(args, " ")
		stdout, _ := h.run(0, append([]string{"__complete"}, words...)...)
		got := strings.Fields(strings.Split(stdout, ":")[0])
		if want := strings.Fields(want); !slices.Equal(got, want) {
			t.Errorf("%q is completed by %q, want %q", args, got, want)
		}
	}
	h.daemon.Stop()
	if stdout, _ := h.run(0, "__complete", "export", "show", ""); strings.Contains(stdout, "web") {
		t.Errorf("without a daemon: %q", stdout)
	}
}

// follow starts a command that writes lines until it is stopped.
func (h *host) follow(args ...string) (p *clitest.Process, line func() string) {
	h.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		h.t.Fatal(err)
	}
	o := h.options()
	o.Stdout = w
	p = clitest.Start(h.t, o, args...)
	_ = w.Close()
	h.t.Cleanup(func() { _ = r.Close() })
	lines := bufio.NewReader(r)
	return p, func() string {
		h.t.Helper()
		if err := r.SetReadDeadline(time.Now().Add(clitest.Patience)); err != nil {
			h.t.Fatal(err)
		}
		text, err := lines.ReadString('\n')
		if err != nil {
			h.t.Fatalf("%v: %v; %s", args, err, p.Stderr())
		}
		return text
	}
}

// TestEventsCommand: what happens is written as it happens, until Ctrl-C, which is no error.
func TestEventsCommand(t *testing.T) {
	h := newHost(t)
	p, line := h.follow("events", "vm")
	wantAll(t, line(), "begin")
	j, object := h.follow("events", "--output=json")
	wantAll(t, object(), `"kind":"EVENT_KIND_BEGIN"`)
	h.create("vm")
	h.create("other")
	h.does("export", "drain", "vm")
	h.does("export", "start", "vm")
	h.does("export", "delete", "vm")
	var seen string
	for !strings.Contains(seen, "deleted") {
		seen += line()
	}
	wantAll(t, seen, "vm  created", "vm  drained", "vm  listening")
	if strings.Contains(seen, "other") {
		t.Errorf("events of another export:\n%s", seen)
	}
	for seen = ""; !strings.Contains(seen, "EVENT_KIND_DELETED"); {
		one := object()
		if !json.Valid([]byte(one)) {
			t.Errorf("not an object a line: %q", one)
		}
		seen += one
	}
	wantAll(t, seen, `"name":"other"`, `"state":"STATE_LISTENING"`)
	p.Signal(syscall.SIGINT)
	if status := p.Status(); status != 0 || p.Stderr() != "" {
		t.Errorf("interrupted: status %d, %q", status, p.Stderr())
	}
	h.daemon.Stop()
	if status := j.Status(); status != 1 || !oneLine(j.Stderr()) || !strings.Contains(j.Stderr(), "ending") {
		t.Errorf("the daemon ended: status %d, %q", status, j.Stderr())
	}
}

// TestStatsCommand: once, and again and again.
func TestStatsCommand(t *testing.T) {
	h := newHost(t)
	h.create("vm")
	wantAll(t, h.does("stats", "vm", "--queues"), "EXPORT", "vm", "WORKER", "POLLS WON")
	p, line := h.follow("stats", "--watch=100ms", "--output=json")
	var last string
	for range 3 {
		var s struct {
			Time    string `json:"time_unix_ns"`
			Exports []struct{ Name string }
		}
		one := line()
		if err := json.Unmarshal([]byte(one), &s); err != nil || s.Time <= last || len(s.Exports) != 1 || s.Exports[0].Name != "vm" {
			t.Errorf("after %s: %v, %s", last, err, one)
		}
		last = s.Time
	}
	p.Signal(syscall.SIGTERM)
	if status := p.Status(); status != 0 || p.Stderr() != "" {
		t.Errorf("stopped: status %d, %q", status, p.Stderr())
	}
}
