package systemd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/test/e2e/guest"
)

// containerTime is for a command in the container, which runs at the host's speed.
const containerTime = 30 * time.Second

// container is a small system on the host's kernel, in namespaces of its own, with the host's systemd as first process.
// Outside, it is a process, a directory and a cgroup, and nothing is left of it in the end.
type container struct {
	t    *testing.T
	dir  string
	cmd  *exec.Cmd // systemd
	done chan struct{}
}

// startContainer makes one and returns when systemd is at work.
func startContainer(t *testing.T) *container {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("namespaces, mounts and cgroups need root")
	}
	dir, err := os.MkdirTemp("", "vublk-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := &container{t: t, dir: dir, done: make(chan struct{})}
	c.furnish()
	c.spawn(makeCgroup(t))
	t.Cleanup(c.end)
	c.await("systemd", func() bool {
		_, err := os.Lstat(c.path("/run/systemd/private"))
		return err == nil && c.property("container.target", "ActiveState") == "active"
	})
	return c
}

// furnish makes the directories that container.sh mounts.
func (c *container) furnish() {
	c.t.Helper()
	put := func(mode os.FileMode, text, path string) {
		c.t.Helper()
		path = filepath.Join(c.dir, path)
		must(c.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(c.t, os.WriteFile(path, []byte(text), mode))
	}
	for _, dir := range []string{"none", "root/usr", "root/proc", "root/sys", "root/dev", "root/run", "root/tmp", "root/root", "root/var/lib/images"} {
		must(c.t, os.MkdirAll(filepath.Join(c.dir, dir), 0o755))
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		must(c.t, os.Symlink("usr/"+name, filepath.Join(c.dir, "root", name)))
	}
	for _, name := range []string{"/etc/os-release", "/etc/group", "/etc/systemd/journald.conf"} {
		put(0o644, files[name], "root"+name)
	}
	put(0o644, "root:x:0:0:root:/root:/bin/sh\n", "root/etc/passwd")
	put(0o644, strings.Repeat("1", 32)+"\n", "root/etc/machine-id")
	put(0o644, "[Unit]\nRequires=basic.target systemd-journald.service\nAfter=basic.target systemd-journald.service\n", "units/container.target")
	for name, text := range installed(c.t, "/usr/local/bin") {
		put(0o644, text, "units/"+name)
	}
	for _, path := range theirs(c.t) {
		text, err := os.ReadFile(path)
		must(c.t, err)
		put(0o644, string(text), "units/"+filepath.Base(path))
	}
	program, err := os.ReadFile(lab.vublk)
	must(c.t, err)
	put(0o755, string(program), "local/bin/vublk")
}

// makeCgroup makes one in the host's unified hierarchy; it is gone when the test has ended.
func makeCgroup(t *testing.T) (dir *os.File) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	var top string
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			top = f[1]
		}
	}
	if top == "" {
		t.Fatal("cgroup2 is mounted nowhere")
	}
	path, err := os.MkdirTemp(top, "vublk-test-")
	must(t, err)
	t.Cleanup(func() {
		eventually(t, "the cgroup's end", func() bool { return removeCgroup(path) == nil })
	})
	dir, err = os.Open(path)
	must(t, err)
	t.Cleanup(func() { _ = dir.Close() })
	return dir
}

// removeCgroup removes one and all below it.
func removeCgroup(path string) error {
	below, err := filepath.Glob(path + "/*/cgroup.procs")
	if err != nil {
		return err
	}
	for _, procs := range below {
		if err := removeCgroup(filepath.Dir(procs)); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

// spawn starts the container's first process.
func (c *container) spawn(cgroup *os.File) {
	c.t.Helper()
	script, err := filepath.Abs("container.sh")
	must(c.t, err)
	log, err := os.Create(filepath.Join(c.dir, "console"))
	must(c.t, err)
	defer func() { _ = log.Close() }()
	// The namespace of cgroups begins at that of the process that makes it, so it is made in there.
	c.cmd = exec.Command("unshare", "--cgroup", "sh", script)
	c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = c.dir, log, log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
		UseCgroupFD: true, CgroupFD: int(cgroup.Fd()), Pdeathsig: syscall.SIGKILL,
	}
	must(c.t, errors.Wrap(c.cmd.Start(), "a container"))
	go func() {
		_ = c.cmd.Wait()
		close(c.done)
	}()
}

// end kills systemd, and with it everything in the container.
func (c *container) end() {
	if c.t.Failed() {
		c.t.Logf("the container's journal:\n%s", c.journal())
	}
	_ = c.cmd.Process.Kill()
	<-c.done
}

// path is that of a file in the container, as the host sees it.
func (c *container) path(inside string) string {
	return "/proc/" + strconv.Itoa(c.cmd.Process.Pid) + "/root" + inside
}

// try runs a shell script in the container.
func (c *container) try(script string) guest.Result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), containerTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(c.cmd.Process.Pid), "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup",
		"env", "-i", "PATH=/usr/local/bin:/usr/bin", "sh", "-c", script)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || ctx.Err() != nil {
		c.t.Fatalf("%s: %v: %s\n%s", script, err, out, c.console())
	}
	return guest.Result{Output: string(out), Status: cmd.ProcessState.ExitCode()}
}

// run is try for a script that must succeed.
func (c *container) run(script string) string {
	c.t.Helper()
	r := c.try(script)
	if r.Status != 0 {
		c.t.Fatalf("%s\nstatus %d: %s", script, r.Status, r.Output)
	}
	return strings.TrimSpace(r.Output)
}

// property is one of a unit's.
func (c *container) property(unit, name string) string {
	c.t.Helper()
	return strings.TrimSpace(c.try("systemctl show --value -p " + name + " '" + unit + "'").Output)
}

// await looks again and again until something is so.
func (c *container) await(what string, so func() bool) {
	c.t.Helper()
	eventually(c.t, what, func() bool {
		select {
		case <-c.done:
			c.t.Fatalf("the container has ended: %s", c.console())
		default:
		}
		return so()
	})
}

// journal is all that was written, and by whom.
func (c *container) journal() string {
	out, err := exec.Command("nsenter", "--target", strconv.Itoa(c.cmd.Process.Pid), "--mount", "journalctl", "--no-pager", "-q", "-o", "short-monotonic").CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s\n%s", err, out, c.console())
	}
	return string(out)
}

func (c *container) console() string {
	text, _ := os.ReadFile(filepath.Join(c.dir, "console"))
	return string(text)
}

// eventually polls a condition.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(containerTime); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", containerTime, what)
		}
	}
}
