package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/test/e2e/guest"
)

const diskSize = 1 << 30

// contest is some back-ends that take turns.
type contest struct {
	title string
	dir   string
	peers []*peer // vublk, qemu-storage-daemon, vublk again
	// ceiling is what the driver itself can do, in IOPS, measured in turn with the peers.
	ceiling []float64
}

// peer is one back-end.
type peer struct {
	name    string
	argv    []string
	socket  string
	backend *guest.Backend
	results []bench.Result
}

// outcome is what a contest showed, in IOPS.
type outcome struct {
	vublk, qemu float64
}

func (o outcome) ratio() float64 { return o.vublk / o.qemu }

func vublkPeer(dir, name, binary string, disk ...string) *peer {
	socket := filepath.Join(dir, name)
	argv := append([]string{binary, "serve", "--socket-path=" + socket}, disk...)
	return &peer{name: "vublk", socket: socket, argv: append(argv, "--poll=50us", "--workers=1")}
}

func qemuPeer(dir, name, blockdev string) *peer {
	socket := filepath.Join(dir, name)
	return &peer{name: "qemu-storage-daemon", socket: socket, argv: []string{
		"qemu-storage-daemon", "--blockdev", blockdev,
		"--export", "type=vhost-user-blk,id=e,addr.type=unix,addr.path=" + socket + ",node-name=n,writable=on",
	}}
}

func nullStore(dir, vublk string) func() (*contest, error) {
	return func() (*contest, error) {
		const store = "--store=null:1GiB"
		a, b := vublkPeer(dir, "null-a", vublk, store), vublkPeer(dir, "null-b", vublk, store)
		q := qemuPeer(dir, "null-q", fmt.Sprintf("driver=null-co,node-name=n,size=%d", diskSize))
		return newContest("null store", dir, a, q, b), nil
	}
}

func sparseFile(dir, vublk string) func() (*contest, error) {
	return func() (*contest, error) {
		var peers []*peer
		for _, name := range []string{"file-a", "file-q", "file-b"} {
			path, err := sparse(dir, name+".raw")
			if err != nil {
				return nil, err
			}
			if name == "file-q" {
				peers = append(peers, qemuPeer(dir, name, "driver=file,node-name=n,aio=io_uring,cache.direct=on,filename="+path))
			} else {
				peers = append(peers, vublkPeer(dir, name, vublk, "--blk-file="+path))
			}
		}
		return newContest("sparse file, direct I/O (no limit)", dir, peers...), nil
	}
}

func newContest(title, dir string, peers ...*peer) *contest {
	peers[2].name += " (A/A)"
	return &contest{title: title, dir: dir, peers: peers}
}

// compare starts the back-ends of a contest, lets them take turns, and prints what came out.
func compare(ctx context.Context, o options, build func() (*contest, error)) (out outcome, err error) {
	c, err := build()
	if err != nil {
		return outcome{}, err
	}
	defer func() {
		if e := c.stop(); err == nil {
			err = e
		}
	}()
	if err := c.start(o); err != nil {
		return outcome{}, err
	}
	for range o.runs {
		for _, p := range c.peers {
			r, err := bench.Run(ctx, o.driver(p.socket))
			if err != nil {
				return outcome{}, errors.Wrapf(err, "%s (its log: %s)", p.name, p.backend.Log())
			}
			p.results = append(p.results, r)
		}
		r, err := bench.Ceiling(ctx, o.driver(""), o.backendCPU)
		if err != nil {
			return outcome{}, err
		}
		c.ceiling = append(c.ceiling, r.IOPS)
	}
	c.print(o)
	return outcome{vublk: c.peers[0].iops(), qemu: c.peers[1].iops()}, nil
}

// start starts all back-ends on their CPU, where those whose turn it is not sleep.
func (c *contest) start(o options) error {
	for _, p := range c.peers {
		p.argv = append([]string{"taskset", "-c", strconv.Itoa(o.backendCPU)}, p.argv...)
		var err error
		log := filepath.Join(c.dir, filepath.Base(p.socket)+".log")
		if p.backend, err = guest.StartBackend(log, []string{p.socket}, p.argv...); err != nil {
			return errors.Wrap(err, strings.Join(p.argv, " "))
		}
	}
	return nil
}

func (c *contest) stop() error {
	var first error
	for _, p := range c.peers {
		if p.backend == nil {
			continue
		}
		if err := p.backend.Stop(); err != nil && first == nil {
			first = errors.Wrapf(err, "stop %s", p.name)
		}
	}
	return first
}

// iops is the median of the peer's runs.
func (p *peer) iops() float64 {
	var all []float64
	for _, r := range p.results {
		all = append(all, r.IOPS)
	}
	return median(all)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
