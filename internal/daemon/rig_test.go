package daemon

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/export"
	"github.com/vublk/vublk/internal/statedir"
)

const mib = 1 << 20

// rig is a daemon that can be ended and begun again on the same directory.
type rig struct {
	*Daemon
	t        *testing.T
	dir      string // of everything
	registry *export.Registry
	state    *statedir.Dir
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "vublk-") // shorter than a test's own: it holds sockets
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir}
	r.begin()
	t.Cleanup(func() {
		r.end()
		_ = os.RemoveAll(dir)
	})
	return r
}

// begin opens what is in the state directory.
func (r *rig) begin() {
	r.t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	r.Daemon = New(Options{Version: "test", Log: quiet})
	var err error
	if r.state, err = statedir.Open(r.stateDir(), 0); err != nil {
		r.t.Fatal(err)
	}
	r.registry, err = export.NewRegistry(export.RegistryOptions{Workers: 2, Poll: "off", Log: quiet, Changed: r.Entered})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.Open(r.state, r.registry); err != nil {
		r.t.Fatal(err)
	}
}

// end is what SIGTERM leads to. It may be called twice.
func (r *rig) end() {
	r.t.Helper()
	if r.Daemon == nil {
		return
	}
	r.End()
	if err := r.registry.Close(); err != nil {
		r.t.Error(err)
	}
	r.Wait()
	if err := r.state.Close(); err != nil {
		r.t.Error(err)
	}
	r.Daemon = nil
}

// again is a restart.
func (r *rig) again() {
	r.t.Helper()
	r.end()
	r.begin()
	r.settled()
}

// settled waits until no export is on its way, however long the machine needs for that: Settled has an end.
func (r *rig) settled() {
	r.t.Helper()
	ctx, cancel := patience()
	defer cancel()
	r.Settled(ctx)
	for slices.ContainsFunc(r.List(""), func(s Status) bool { return s.State == Created || s.State == WaitingForLock }) {
		if ctx.Err() != nil {
			r.t.Fatalf("%+v", r.List(""))
		}
		time.Sleep(time.Millisecond)
	}
}

func (r *rig) stateDir() string { return filepath.Join(r.dir, "state") }

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// define is a definition with files of that base name.
func (r *rig) define(name, base string) export.Definition {
	d := export.NewDefinition()
	d.Name, d.Socket.Path, d.Disk.File = name, r.path(base+".sock"), r.path(base+".raw")
	d.Disk.LockTimeout = 0
	return d
}

// patience bounds what a test waits for.
func patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 30*time.Second)
}

// create makes an export of 1 MiB.
func (r *rig) create(name, base string) Status {
	r.t.Helper()
	ctx, cancel := patience()
	defer cancel()
	st, err := r.Create(ctx, r.define(name, base), mib)
	if err != nil {
		r.t.Fatal(err)
	}
	return st
}

// must fails the test on an error.
func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// kept reads what is on the disk; the daemon has ended, or does nothing.
func (r *rig) kept() map[string]record {
	r.t.Helper()
	values, bad, err := r.state.Load()
	if err != nil || len(bad) > 0 {
		r.t.Fatalf("the state directory: %v, damaged: %v", err, bad)
	}
	all := map[string]record{}
	for _, v := range values {
		got, def, err := decode(v)
		if err != nil || def.Name != v.Name {
			r.t.Fatalf("%q: %v", v.Name, err)
		}
		all[v.Name] = got
	}
	return all
}

// kindOf is what sort of error err is: "" for none.
func kindOf(err error) string {
	var known *Error
	var option *export.OptionError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &known):
		return [...]string{"internal", "not found", "already exists", "failed precondition", "unavailable"}[known.Kind]
	case errors.As(err, &option):
		return "invalid " + option.Option
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "context"
	}
	return "unknown"
}
