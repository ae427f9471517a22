package duel

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vublk/vublk/internal/bench"
)

// Backend is a contestant: a process that serves a disk on a socket.
type Backend struct {
	Label  string
	Argv   []string
	Socket string // the path that Argv names, absolute
	CPU    int    // it runs on; negative: on any
	Log    string // file for its output
	// Adjust, if not nil, changes the load of this contestant, to compare one program under two loads.
	Adjust func(*bench.Config)
	// Before, if not nil, is a load that comes once before the first turn, to fill what would else be empty.
	Before *bench.Config

	process *Process
}

// Name is the label.
func (b *Backend) Name() string { return b.Label }

// Command is the command line.
func (b *Backend) Command() string { return pinned(b.CPU, b.Argv) }

func pinned(cpu int, argv []string) string {
	if cpu < 0 {
		return shell(argv)
	}
	return "taskset -c " + strconv.Itoa(cpu) + " " + shell(argv)
}

// Start starts the process and waits until it listens.
func (b *Backend) Start(ctx context.Context) (err error) {
	b.process, err = StartProcess(ctx, b.CPU, b.Log, b.Argv, b.Socket)
	if err != nil || b.Before == nil {
		return err
	}
	_, err = b.load(ctx, *b.Before)
	return err
}

// PID is the process's id, between Start and Stop.
func (b *Backend) PID() int { return b.process.PID() }

// Turn loads the socket.
func (b *Backend) Turn(ctx context.Context, load bench.Config) (bench.Result, error) {
	if b.Adjust != nil {
		b.Adjust(&load)
	}
	return b.load(ctx, load)
}

func (b *Backend) load(ctx context.Context, load bench.Config) (bench.Result, error) {
	load.Socket, load.BackendPID = b.Socket, b.process.PID()
	r, err := bench.Run(ctx, load)
	if err != nil && ctx.Err() == nil {
		err = b.process.explain(err)
	}
	return r, err
}

// Stop ends the process.
func (b *Backend) Stop() error {
	if b.process == nil {
		return nil
	}
	return b.process.Stop()
}

// Store is what a disk keeps its data in.
type Store struct {
	File     string // path of a raw image; "": no file
	Memory   bool   // without a file: keeps data in memory; else it keeps nothing
	Size     int64  // bytes, without a file
	ReadOnly bool
}

// Vublk is a vublk that serves s with one worker, and else with what it does by itself. dir is for socket and log, absolute.
func Vublk(program, dir, label string, cpu int, s Store, options ...string) *Backend {
	b := &Backend{Label: label, CPU: cpu, Socket: filepath.Join(dir, label+".sock"), Log: filepath.Join(dir, label+".log")}
	b.Argv = []string{program, "serve", "--socket-path=" + b.Socket, "--workers=1"}
	switch {
	case s.File != "":
		b.Argv = append(b.Argv, "--blk-file="+s.File)
	case s.Memory:
		b.Argv = append(b.Argv, fmt.Sprintf("--store=mem:%d", s.Size))
	default:
		b.Argv = append(b.Argv, fmt.Sprintf("--store=null:%d", s.Size))
	}
	if s.ReadOnly {
		b.Argv = append(b.Argv, "--read-only")
	}
	b.Argv = append(b.Argv, options...)
	return b
}

// Peer is a qemu-storage-daemon that serves s: a file with io_uring and O_DIRECT as vublk does it, nothing as null-co.
// It has no store that keeps data in memory: null-co with read-zeroes=on stands for one, which writes zeroes into the
// guest's memory and drops what is written.
func Peer(program, dir, label string, cpu int, s Store) *Backend {
	b := &Backend{Label: label, CPU: cpu, Socket: filepath.Join(dir, label+".sock"), Log: filepath.Join(dir, label+".log")}
	var node string
	switch {
	case s.File != "":
		node = "driver=file,node-name=n,aio=io_uring,cache.direct=on,filename=" + commas(s.File)
	case s.Memory:
		node = fmt.Sprintf("driver=null-co,node-name=n,read-zeroes=on,size=%d", s.Size)
	default:
		node = fmt.Sprintf("driver=null-co,node-name=n,size=%d", s.Size)
	}
	writable := "on"
	if s.ReadOnly {
		node, writable = node+",read-only=on", "off"
	}
	b.Argv = []string{
		program, "--blockdev", node,
		"--export", "type=vhost-user-blk,id=e,addr.type=unix,addr.path=" + commas(b.Socket) + ",node-name=n,writable=" + writable,
	}
	return b
}

// commas doubles the commas of a value, as QEMU's option lists want it.
func commas(s string) string { return strings.ReplaceAll(s, ",", ",,") }
