package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/test/e2e/guest"
)

const (
	diskSize  = "512MiB"
	files     = 4
	fileBytes = 8 << 20
)

func (d *demo) steps() []step {
	return []step{
		{"vublk create disk.raw " + diskSize, d.create},
		{"vublk serve", d.serve},
		{"boot Linux in QEMU (TCG, 2 vCPUs)", d.boot},
		{"guest: partition and format", d.format},
		{"guest: write files and fsync", d.write},
		{"guest: drop caches, read back, verify", d.verify},
		{"guest: random reads, 4 KiB, depth 32", d.measure("randread", "4k", 32)},
		{"guest: random writes, 4 KiB, depth 32, no fsync", d.measure("randwrite", "4k", 32)},
		{"guest: sequential reads, 1 MiB, depth 4", d.measure("read", "1m", 4)},
		{"guest: sequential writes, 1 MiB, depth 4, no fsync", d.measure("write", "1m", 4)},
		{"guest: unmount and power off", d.powerOff},
		{"vublk stops on SIGTERM", d.stop},
		{"host: e2fsck and checksums of the image", d.check},
	}
}

func (d *demo) create() (string, error) {
	_, err := guest.Host(d.vublk, "create", d.image.Path, diskSize)
	return "sparse", err
}

func (d *demo) serve() (string, error) {
	var err error
	d.backend, err = guest.StartBackend(filepath.Join(d.dir, "vublk.log"), []string{d.socket},
		d.vublk, "serve", "--socket-path="+d.socket, "--blk-file="+d.image.Path)
	return "listens on " + d.socket, err
}

func (d *demo) boot() (string, error) {
	kernel, err := guest.FindKernel(d.repo)
	if err != nil {
		return "", err
	}
	contents := guest.Contents{Tools: []string{"sfdisk", "mkfs.ext4", "fio"}, Files: map[string]string{}}
	for i := range files {
		// The guest gets the contents along with its programs, so the host knows the sums without asking it.
		data := make([]byte, fileBytes)
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(data) // never fails
		name := fmt.Sprintf("/file%d", i)
		contents.Files[name] = string(data)
		d.sums[name] = guest.Sum(data)
	}
	o := guest.Options{
		Dir: d.dir, Kernel: kernel.Image, Initramfs: filepath.Join(d.dir, "initramfs"), Memory: 768,
		Disks: []guest.Disk{{ID: "disk0", Socket: d.socket}},
	}
	if err := guest.Initramfs(kernel, o.Initramfs, contents); err != nil {
		return "", err
	}
	if d.guest, err = guest.Start(o); err != nil {
		return "", err
	}
	if _, err = d.guest.WaitReady(); err != nil {
		return "", err
	}
	return d.in("echo Linux $(uname -r), /dev/vda $(($(cat /sys/block/vda/size) / 2048)) MiB, " +
		"$(ls /sys/block/vda/mq | wc -l) queues, $(cat /sys/block/vda/queue/write_cache)")
}

func (d *demo) format() (string, error) {
	return d.in("echo 'start=1MiB, type=83' | /tools/sfdisk --quiet --label dos /dev/vda\n" +
		"n=0; until [ -b /dev/vda1 ]; do n=$((n + 1)); [ $n -lt 100 ]; usleep 50000; done\n" +
		"/tools/mkfs.ext4 -q /dev/vda1; mount -t ext4 /dev/vda1 /mnt; echo ext4 on /dev/vda1")
}

func (d *demo) write() (string, error) {
	_, err := d.in("for f in /file*; do dd if=$f of=/mnt$f bs=1M conv=fsync 2>/dev/null; done; sync")
	return fmt.Sprintf("%d files, %d MiB", files, files*fileBytes>>20), err
}

func (d *demo) verify() (string, error) {
	out, err := d.in("echo 3 >/proc/sys/vm/drop_caches; cd /mnt; sha256sum file*")
	if err != nil {
		return "", err
	}
	lines := strings.Split(out, "\n")
	if len(lines) != files {
		return "", errors.Errorf("%d files, want %d:\n%s", len(lines), files, out)
	}
	for _, line := range lines {
		sum, name, _ := strings.Cut(line, "  ")
		if d.sums["/"+name] != sum {
			return "", errors.Errorf("%s reads back wrong: sum %s, want %s", name, sum, d.sums["/"+name])
		}
	}
	return "SHA-256 equal", nil
}

// measure runs fio for a few seconds on a file, past the guest's page cache. Its writes are not flushed, so the host
// disk's own write cache is part of the number: a rough impression, compare with fio on the host before believing it.
func (d *demo) measure(pattern, block string, depth int) func() (string, error) {
	return func() (string, error) {
		out, err := d.in(fmt.Sprintf("/tools/fio --name=demo --filename=/mnt/fio --size=128m --direct=1 --ioengine=libaio "+
			"--rw=%s --bs=%s --iodepth=%d --time_based --runtime=4 --ramp_time=1 --output-format=json", pattern, block, depth))
		if err != nil {
			return "", err
		}
		var report struct {
			Jobs []struct{ Read, Write fioSide }
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Jobs) != 1 {
			return "", errors.Errorf("fio's report (%v):\n%s", err, out)
		}
		side := report.Jobs[0].Read
		if strings.HasSuffix(pattern, "write") {
			side = report.Jobs[0].Write
		}
		if side.IOPS == 0 {
			return "", errors.Errorf("fio did nothing:\n%s", out)
		}
		return fmt.Sprintf("%.0f IOPS, %.0f MB/s", side.IOPS, side.Bandwidth/1e6), nil
	}
}

// fioSide is one direction of a job in fio's JSON.
type fioSide struct {
	IOPS      float64 `json:"iops"`
	Bandwidth float64 `json:"bw_bytes"`
}

func (d *demo) powerOff() (string, error) {
	if _, err := d.in("umount /mnt"); err != nil {
		return "", err
	}
	return "", d.guest.PowerOff()
}

func (d *demo) stop() (string, error) { return "exit status 0", d.backend.Stop() }

func (d *demo) check() (string, error) {
	if err := d.image.Fsck(); err != nil {
		return "", err
	}
	for name, want := range d.sums {
		got, err := d.image.Sum(name)
		if err != nil {
			return "", err
		}
		if got != want {
			return "", errors.Errorf("%s on the host: sum %s, want %s", name, got, want)
		}
	}
	used, err := d.image.Allocated()
	return fmt.Sprintf("clean, equal; %d MiB used on the host", used>>20), err
}
