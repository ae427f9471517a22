package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/test/e2e/guest"
)

// runTime is what a script in a guest may take on a slow machine.
const runTime = 5 * time.Minute

func main() {
	begin := time.Now()
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %+v\n", err)
		os.Exit(1)
	}
	fmt.Printf("\nA guest partitioned, formatted, wrote and verified a disk of vublk in %.0f seconds; the host agrees.\nOK\n",
		time.Since(begin).Seconds())
}

func run() (err error) {
	repo, err := guest.RepoRoot()
	if err != nil {
		return err
	}
	// Unix sockets live in it: the path has to be short.
	dir, err := os.MkdirTemp("", "vublk-demo-")
	if err != nil {
		return errors.Wrap(err, "directory of the demo")
	}
	defer func() { _ = os.RemoveAll(dir) }()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupted)
	go func() {
		if _, ok := <-interrupted; ok {
			_ = os.RemoveAll(dir)
			os.Exit(130) // QEMU and vublk die with us, see guest.Start
		}
	}()

	d := &demo{
		repo:   repo,
		vublk:  filepath.Join(repo, "bin", "vublk"),
		dir:    dir,
		socket: filepath.Join(dir, "vm.sock"),
		image:  guest.Image{Path: filepath.Join(dir, "disk.raw"), Offset: 1 << 20},
		sums:   map[string]string{},
	}
	defer d.close()
	for _, step := range d.steps() {
		fmt.Printf("%-52s", step.title)
		begin := time.Now()
		detail, err := step.do()
		if err != nil {
			fmt.Println("FAILED")
			d.explain()
			return errors.Wrap(err, step.title)
		}
		fmt.Printf("%5.1f s  %s\n", time.Since(begin).Seconds(), detail)
	}
	return nil
}

// demo is what the steps hand on to each other.
type demo struct {
	repo, vublk, dir, socket string
	image                    guest.Image
	backend                  *guest.Backend
	guest                    *guest.Guest
	sums                     map[string]string // file -> SHA-256, as the host knows it
}

type step struct {
	title string
	do    func() (detail string, err error)
}

func (d *demo) close() {
	if d.guest != nil {
		d.guest.Close()
	}
	if d.backend != nil && d.backend.Running() {
		d.backend.Kill()
	}
}

// explain shows what the two programs said, when a step failed.
func (d *demo) explain() {
	if d.backend != nil {
		fmt.Printf("\nvublk said:\n%s", d.backend.Log())
	}
	if d.guest != nil {
		fmt.Printf("\nQEMU said:\n%s\nconsole of the guest:\n%s", d.guest.Log(), d.guest.Console())
	}
}

// in runs a script in the guest and returns its output; it must succeed.
func (d *demo) in(script string) (string, error) {
	r, err := d.guest.Run("set -e\n"+script, runTime)
	if err != nil {
		return "", err
	}
	if r.Status != 0 {
		return "", errors.Errorf("in the guest: status %d: %s", r.Status, r.Output)
	}
	return strings.TrimSpace(r.Output), nil
}
