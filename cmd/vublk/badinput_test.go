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
		{"bad cpus", "serve --socket-path=s --blk-file=disk.raw --cpus=all", "--cpus=all: \"all\" is neither a CPU nor a range"},
		{"a CPU twice", "serve --socket-path=s --blk-file=disk.raw --cpus=0-1,1", "--cpus=0-1,1: CPU 1 comes twice"},
		{"a CPU beyond all", "serve --socket-path=s --blk-file=disk.raw --cpus=1023", "--cpus=1023: CPU 1023 is not one that this process may use ("},
		{"workers without CPUs", "serve --socket-path=s --blk-file=disk.raw --cpus=0 --workers=2", "--workers=2: each worker has a CPU of its own in cpus=0; take 1 to 1"},
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
		{"bench of nothing", "bench", "say what to measure: --socket=PATH"},
		{"bench of two", "bench --socket=s --store=null:1G", "contradict each other"},
		{"bench of a socket that is missing", "bench --socket=none", "--socket=none: there is no such socket; start a back-end"},
		{"bench of no socket", "bench --socket=disk.raw", "not a socket"},
		{"bench of a file that is missing", "bench --store=none.raw", "vublk create none.raw 1GiB"},
		{"bench of a directory", "bench --store=.", "neither a regular file nor a block device"},
		{"bench of a character device", "bench --store=/dev/null", "neither a regular file nor a block device"},
		{"bench of a bad store", "bench --store=null:big", "not a size"},
		{"bench of a ragged store", "bench --store=mem:1000", "take mem:1GiB"},
		{"bench of a ragged file", "bench --store=ragged.raw", "vublk bench: vublk does not start: vublk serve: ragged.raw has"},
		{"compare a stranger", "bench --socket=disk.raw --compare", "--compare needs --store"},
		{"bench that writes to a file", "bench --store=disk.raw --rw=randwrite", "what is on disk.raw is lost then; say --destroy-data"},
		{"bench that writes now and then", "bench --store=disk.raw --rw=rw --write-percent=1", "--destroy-data"},
		{"bench that writes to a stranger", "bench --socket=s --rw=randrw", "the disk behind s is lost then; say --destroy-data"},
		{"bench that flushes nothing", "bench --store=mem:1M --rw=flush", "nothing can be flushed"},
		{"bench with a bad mix", "bench --store=null:1G --rw=trim", "take randread, randwrite"},
		{"bench with a share of nothing", "bench --store=null:1G --write-percent=30", "take --rw=randrw or --rw=rw"},
		{"bench with flushes twice", "bench --store=disk.raw --rw=flush --flush-percent=5", "take another --rw"},
		{"bench with a bad share", "bench --store=disk.raw --flush-percent=101", "take 0 to 100"},
		{"bench with a bad block", "bench --store=null:1G --bs=700", "--bs=700: not a multiple of 512"},
		{"bench with a huge block", "bench --store=null:1G --bs=32M", "take 512 to 16MiB"},
		{"bench with a block beyond the store", "bench --store=null:1M --bs=2M", "no room for 1 blocks of 2MiB"},
		{"bench with a block beyond the file", "bench --store=disk.raw --bs=2M", "no room for 1 blocks of 2MiB"},
		{"bench with more queues than parts", "bench --store=disk.raw --bs=512k --rw=read --queues=3", "no room for 3 blocks of 512KiB"},
		{"bench with a block beyond the span", "bench --store=null:1G --span=512", "--span=512B: no room for a block"},
		{"bench with no depth", "bench --store=null:1G --depth=0", "not a list of depths from 1 to 4096; write 32, 1,2,4 or 1..128"},
		{"bench with depths backwards", "bench --store=null:1G --depth=8..1", "not a list of depths"},
		{"bench with too many queues", "bench --store=null:1G --queues=257", "take 1 to 256"},
		{"bench with more than memory", "bench --store=null:1G --queues=256 --depth=4096 --bs=16M", "more than half of this machine's"},
		{"bench with no batch", "bench --store=null:1G --batch=0", "take 1 to 4096"},
		{"bench with a bad driver", "bench --store=null:1G --driver=idle", "take polling or sleeping"},
		{"bench with a bad CPU", "bench --store=null:1G --driver-cpus=x", "not a list of CPUs; write 0, 1,3 or 0-3"},
		{"bench with a CPU that is missing", "bench --store=null:1G --backend-cpus=0,8191", "CPU 8191 is not there"},
		{"bench that moves a stranger", "bench --socket=s --backend-cpus=0", "is not ours to move"},
		{"bench without a unit", "bench --store=null:1G --runtime=1", "write a number and a unit"},
		{"bench for no time", "bench --store=null:1G --runtime=1ms", "take 10ms to 24h0m0s"},
		{"bench with no round", "bench --store=null:1G --rounds=0", "take 1 to 1000"},
		{"bench with a bad output", "bench --store=null:1G --output=xml", "take table, json or csv"},
		{"bench with a bad plot", "bench --store=null:1G --plot=a.gif", "take a name that ends in .svg or .png"},
		{"bench with a plot nowhere", "bench --store=null:1G --plot=none/a.svg", "no file can be made in none"},
		{"an argument of bench", "bench disk.raw", "unexpected argument"},
		{"daemon in no directory", "daemon --state-dir=", "--state-dir: missing; name a directory"},
		{"daemon for a group beyond all", "daemon --state-dir=none --group=99999999999", "--group=99999999999: no group has this name"},
		{"daemon for the group that means none", "daemon --state-dir=none --group=4294967295", "--group=4294967295: no group has this name"},
		{"daemon for a negative group", "daemon --state-dir=none --group=-1", "--group=-1: no group has this name"},
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
