package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vublk/vublk/internal/cli/clitest"
)

// Every wrong input ends with status 2 and one line that names it and the way out.
func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	image(t, dir, "disk.raw", 1<<20)
	image(t, dir, "odd.raw", 1<<20+512)
	image(t, dir, "ragged.raw", 1<<20+100)
	image(t, dir, "plain", 0)
	long := strings.Repeat("x", 108)
	for _, c := range []struct{ name, args, want string }{
		{"no command", "", "a command is missing"},
		{"unknown command", "serv", "did you mean serve?"},
		{"unlike any command", "frobnicate", "lists the commands"},
		{"unknown option", "serve --blkfile=a", "did you mean --blk-file?"},
		{"unlike any option", "serve --frobnicate", "'vublk serve --help' lists the options"},
		{"unknown short option", "serve -x", "unknown option -x"},
		{"an argument", "serve disk.raw", `unexpected argument "disk.raw"`},
		{"an option without its value", "serve --blk-file", "write --blk-file=FILE"},
		{"no socket", "serve --blk-file=disk.raw", "--socket-path: missing"},
		{"no disk", "serve --socket-path=s", "--blk-file: missing"},
		{"two sockets", "serve --socket-path=s --fd=3 --blk-file=disk.raw", "--fd: contradicts socket-path"},
		{"two disks", "serve --socket-path=s --blk-file=disk.raw --store=mem:1M", "--store: contradicts blk-file"},
		{"export and single", "serve --socket-path=s --export=socket-path=t,store=mem:1M", "--socket-path and --export contradict"},
		{"incoming and read-only", "serve --socket-path=s --blk-file=disk.raw --incoming --read-only", "contradicts read-only"},
		{"wce and writethrough", "serve --socket-path=s --blk-file=disk.raw --config-wce --cache=writethrough", "leave one out"},
		{"bad cache", "serve --socket-path=s --blk-file=disk.raw --cache=none", "--cache=none: not a cache mode; take auto"},
		{"bad queues", "serve --socket-path=s --blk-file=disk.raw --num-queues=0", "--num-queues=0: not a number of queues; take 1 to 256"},
		{"bad block size", "serve --socket-path=s --blk-file=disk.raw --logical-block-size=1000", "power of two"},
		{"bad serial", "serve --socket-path=s --blk-file=disk.raw --serial=" + long, "1 to 20"},
		{"bad poll", "serve --socket-path=s --blk-file=disk.raw --poll=often", "neither auto, off, nor a duration"},
		{"long poll", "serve --socket-path=s --blk-file=disk.raw --poll=20ms", "up to 10ms"},
		{"bad workers", "serve --socket-path=s --blk-file=disk.raw --workers=0", "--workers=0: not a number of workers"},
		{"bad level", "serve --socket-path=s --blk-file=disk.raw --log-level=loud", "take debug, info, warn or error"},
		{"bad format", "serve --socket-path=s --blk-file=disk.raw --log-format=xml", "take text or json"},
		{"bad timeout", "serve --socket-path=s --blk-file=disk.raw --lock-timeout=5", "write 60s"},
		{"bad direct", "serve --socket-path=s --blk-file=disk.raw --direct=maybe", "neither on nor off"},
		{"bad store", "serve --socket-path=s --store=disk:1G", "null:SIZE or mem:SIZE"},
		{"ragged store", "serve --socket-path=s --store=mem:1000", "take 1KiB"},
		{"store beyond memory", "serve --socket-path=s --store=mem:7EiB", "memory"},
		{"bad export", "serve --export=socket-path=s,blkfile=disk.raw", "--export blkfile: unknown key; did you mean blk-file?"},
		{"incomplete export", "serve --export=socket-path=s", "--export blk-file: missing"},
		{"same name", "serve --export=socket-path=s.a,store=mem:1M --export=socket-path=s.b,store=mem:1M", "two exports have this name"},
		{"same socket", "serve --export=socket-path=s,store=mem:1M --export=name=x,socket-path=./s,store=mem:1M", "has this socket already"},
		{"same image", "serve --export=socket-path=s,blk-file=disk.raw --export=socket-path=t,blk-file=disk.raw", "serves the same image"},
		{"file is missing", "serve --socket-path=s --blk-file=none.raw", "none.raw does not exist"},
		{"file is a directory", "serve --socket-path=s --blk-file=.", "is a directory"},
		{"file is a character device", "serve --socket-path=s --blk-file=/dev/null", "neither a regular file nor a block device"},
		{"size is no whole number of sectors", "serve --socket-path=s --blk-file=ragged.raw", "not a whole number"},
		{"size is no whole number of blocks", "serve --socket-path=s --blk-file=odd.raw --logical-block-size=4096", "not a whole number of logical blocks"},
		{"socket path too long", "serve --socket-path=" + long + " --blk-file=disk.raw", "has 108 bytes, a Unix socket's has at most 107"},
		{"socket path is a file", "serve --socket-path=plain --blk-file=disk.raw", "plain: file exists and is not a socket"},
		{"socket's directory is missing", "serve --socket-path=none/s --blk-file=disk.raw", "none/s"},
		{"fd is closed", "serve --fd=77 --blk-file=disk.raw", "--fd=77: no such descriptor is open"},
		{"fd is no socket", "serve --fd=0 --blk-file=disk.raw", "--fd=0: not a socket"},
		{"create without a size", "create disk.raw", "needs a file and a size"},
		{"create of nonsense", "create new.raw big", "not a size"},
		{"create of decimal units", "create new.raw 20GB", "write 20GiB"},
		{"create of a ragged size", "create new.raw 1000", "the nearest is 1024"},
		{"create of nothing", "create new.raw 0", "no bytes"},
		{"create over a file", "create disk.raw 1M", "--force"},
		{"create over a directory", "create --force . 1M", "not a regular file"},
		{"create in no directory", "create none/new.raw 1M", "none"},
		{"create beyond the file system", "create new.raw 7EiB --preallocate", "MiB free"},
		{"bad output", "info --output=xml", "take table or json"},
		{"an argument of info", "info all", "unexpected argument"},
		{"an argument of version", "version all", "unexpected argument"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, stdout, stderr := clitest.Run(t, clitest.Options{Dir: dir}, strings.Fields(c.args)...)
			if status != 2 || !strings.Contains(stderr, c.want) || stdout != "" {
				t.Fatalf("status %d, want 2\nstdout %q\nstderr %q, want %q", status, stdout, stderr, c.want)
			}
			if lines := strings.Split(strings.TrimSpace(stderr), "\n"); !strings.HasPrefix(lines[len(lines)-1], "vublk") {
				t.Errorf("the last line is no message of ours: %q", stderr)
			}
			if !strings.Contains(stderr, "level=") && !oneLine(stderr) {
				t.Errorf("not one line: %q", stderr)
			}
		})
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 4 {
		t.Errorf("files left behind: %v, %v", left, err)
	}
}

func TestUnreadableFile(t *testing.T) {
	dir := t.TempDir()
	path := image(t, dir, "disk.raw", 1<<20)
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	var o clitest.Options
	if os.Geteuid() == 0 { // reads everything, but for the capabilities
		o.Wrap = []string{"setpriv", "--inh-caps=-dac_override,-dac_read_search", "--bounding-set=-dac_override,-dac_read_search"}
	}
	status, _, stderr := clitest.Run(t, o, "serve", "--socket-path="+filepath.Join(dir, "s"), "--blk-file="+path)
	if status != 2 || !strings.Contains(stderr, path) || !strings.Contains(stderr, "check its owner and mode") || !oneLine(stderr) {
		t.Fatalf("status %d, %q", status, stderr)
	}
}

func TestLockedFile(t *testing.T) {
	dir := t.TempDir()
	path := image(t, dir, "disk.raw", 1<<20)
	first := clitest.Start(t, clitest.Options{}, "serve", "--socket-path="+filepath.Join(dir, "a.sock"), "--blk-file="+path)
	first.Await("listening")
	for timeout, want := range map[string]string{"0": "is locked by", "300ms": "waiting for the image's lock"} {
		status, _, stderr := clitest.Run(t, clitest.Options{}, "serve", "--socket-path="+filepath.Join(dir, "b.sock"),
			"--blk-file="+path, "--lock-timeout="+timeout)
		if status != 2 || !strings.Contains(stderr, want) || !strings.Contains(stderr, "is locked by") ||
			!strings.Contains(stderr, "pid "+itoa(first.PID())) {
			t.Errorf("timeout %s: status %d, %q", timeout, status, stderr)
		}
	}
	status, _, stderr := clitest.Run(t, clitest.Options{}, "create", "--force", path, "1M")
	if status != 2 || !strings.Contains(stderr, "in use by another process") {
		t.Errorf("create: status %d, %q", status, stderr)
	}
}
