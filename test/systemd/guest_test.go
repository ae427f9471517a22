package systemd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/test/e2e/guest"
	"github.com/vublk/vublk/test/e2e/scribe"
)

const (
	service = "vublk.service"
	// image is the disk of the guest, inside the container.
	image = "/var/lib/images/vm.raw"
	// writers keep the disk busy: with each waiting for an fsync most of the time, some request is always in flight.
	writers = 3
)

// TestGuest ends the daemon by systemd's hand, while a guest works whose QEMU was not told to connect again.
func TestGuest(t *testing.T) {
	c := startContainer(t)
	c.run("systemctl enable --now " + service)
	disk, err := guest.CreateSparse(filepath.Join(c.dir, "root", image), 256<<20)
	must(t, err)
	must(t, disk.Mkfs(""))
	c.run("vublk export create vm --socket-path=/run/vublk/vm.sock --blk-file=" + image)
	c.hardening()
	g := bootGuest(t, guest.Disk{ID: "disk0", Socket: c.path("/run/vublk/vm.sock"), NumQueues: 2})
	if list := c.run("vublk export list"); !strings.Contains(list, "pid of another namespace, uid 0") {
		t.Errorf("the daemon, which cannot see QEMU, says of it:\n%s", list)
	}

	restarts, kills := 3, 5
	if os.Getenv("VUBLK_PROVE") == "long" {
		restarts, kills = 50, 100
	}
	restarted := g.through(c, restarts, "restart", "systemctl restart --no-block "+service)
	killed := g.through(c, kills, "kill", "systemctl kill -s KILL "+service)
	if n := c.property(service, "NRestarts"); n != strconv.Itoa(kills) {
		t.Errorf("systemd has started the daemon %s times by itself, want %d", n, kills)
	}
	g.land()
	if err := disk.Fsck(); err != nil {
		t.Errorf("file system of the image: %v", err)
	}
	checkRecords(t, disk, "restart", restarted)
	checkRecords(t, disk, "kill", killed)
}

// through has the programs of the guest work in a directory while systemd is given an order so many times.
func (g *writer) through(c *container, times int, name, order string) scribe.Report {
	g.t.Helper()
	g.write(name)
	var stalls []time.Duration
	for range times {
		g.progress()
		stalls = append(stalls, c.outlive(order))
	}
	report := g.settle()
	slices.Sort(stalls)
	g.t.Logf("%s, %d times: from the order to the first answer seen p50 %v, max %v; the guest has made %d records with %d fsyncs, the longest took %v",
		name, times, stalls[(times-1)/2], stalls[times-1], report.Records, report.Syncs, report.Longest.Round(time.Millisecond))
	return report
}

// hardening: the unit's is in force.
func (c *container) hardening() {
	status := c.run("cat /proc/" + c.property(service, "MainPID") + "/status")
	for _, want := range hardened {
		if !strings.Contains(status, want) {
			c.t.Errorf("/proc/PID/status has no %q:\n%s", want, status)
		}
	}
	r := c.try("vublk export create bad --socket-path=/etc/vm.sock --store=null:1MiB")
	if r.Status == 0 || !strings.Contains(r.Output, "read-only file system") {
		c.t.Errorf("an export in /etc: status %d: %s", r.Status, r.Output)
	}
}

// writer is a guest with a file system on which programs write and sync without end. They must notice nothing.
type writer struct {
	*guest.Guest
	t *testing.T
}

// bootGuest starts it, outside the container.
func bootGuest(t *testing.T, d guest.Disk) *writer {
	t.Helper()
	dir, err := os.MkdirTemp("", "vublk-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	o := guest.Options{Dir: dir, Kernel: lab.kernel.Image, Initramfs: filepath.Join(dir, "initramfs"), Disks: []guest.Disk{d}}
	must(t, guest.Initramfs(lab.kernel, o.Initramfs, guest.Contents{Static: []string{lab.scribe}}))
	v, err := guest.Start(o)
	must(t, err)
	t.Cleanup(v.Close)
	g := &writer{Guest: v, t: t}
	if _, err := v.WaitReady(); err != nil {
		t.Fatalf("%v; the console:\n%s", err, v.Console())
	}
	g.run(guest.HungTask + "; mount -t ext4 /dev/vda /mnt")
	return g
}

// run demands that a script succeeds.
func (g *writer) run(script string) string {
	g.t.Helper()
	r, err := g.Run("set -e\n"+script, patience)
	if err != nil || r.Status != 0 {
		g.t.Fatalf("guest: %v, status %d of:\n%s\n%s\nQEMU: %s\nconsole: %s", err, r.Status, script, r.Output, g.Log(), tail(g.Console()))
	}
	return r.Output
}

// write has the programs begin, in a directory of their own.
func (g *writer) write(name string) {
	g.t.Helper()
	g.run("mkdir /mnt/" + name + "; rm -f /tmp/stop /tmp/rounds")
	must(g.t, g.Background("scribe", fmt.Sprintf("exec /tools/scribe /mnt/%s %d /tmp/stop /tmp/rounds", name, writers)))
}

// progress waits until more records are there than now.
func (g *writer) progress() {
	g.t.Helper()
	g.run("records() { cat /tmp/rounds 2>/dev/null || echo 0; }; start=$(records); n=0\n" +
		"until [ $(records) -ge $((start + 3)) ]; do n=$((n + 1)); [ $n -lt 3000 ] || { cat /tmp/scribe.out; exit 1; }; usleep 10000; done")
}

// settle ends the programs.
func (g *writer) settle() (report scribe.Report) {
	g.t.Helper()
	g.progress()
	g.run("touch /tmp/stop")
	r, err := g.Finished("scribe", patience)
	must(g.t, err)
	if r.Status != 0 {
		g.t.Fatalf("the programs in the guest end with status %d: %s\n%s", r.Status, r.Output, g.run("dmesg"))
	}
	must(g.t, json.Unmarshal([]byte(r.Output), &report))
	return report
}

// land ends the guest, which has nothing to complain of.
func (g *writer) land() {
	g.t.Helper()
	g.run("umount /mnt")
	if found := guest.Complaints(g.run("dmesg")); len(found) > 0 {
		g.t.Errorf("the guest's kernel complains:\n%s", strings.Join(found, "\n"))
	}
	must(g.t, g.PowerOff())
}

// checkRecords looks at the image from the host: each record that was synced is there.
func checkRecords(t *testing.T, disk guest.Image, name string, report scribe.Report) {
	t.Helper()
	tree, err := os.MkdirTemp("", "vublk-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(tree) })
	_, err = guest.Host("debugfs", "-R", "rdump /"+name+" "+tree, disk.Path)
	must(t, err)
	if n, err := scribe.Check(filepath.Join(tree, name), writers); err != nil || int64(n) != report.Records {
		t.Errorf("%s: the host finds %d records, the guest has made %d: %v", name, n, report.Records, err)
	}
}
