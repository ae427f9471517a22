package daemon

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/export"
	"github.com/vublk/vublk/internal/statedir"
	"github.com/vublk/vublk/vhostuser"
)

// Options are what a Daemon is told about its process.
type Options struct {
	Version string
	Holder  string // who keeps sessions when this process dies: "supervisor", "systemd", "" nobody
	Log     *slog.Logger
}

// Daemon owns exports and their definitions.
type Daemon struct {
	o        Options
	hub      *hub
	started  time.Time
	dir      *statedir.Dir
	registry *export.Registry
	setAside []string
	images   turns

	mu      sync.Mutex // for moments only
	slots   map[string]*slot
	opened  bool
	ending  bool
	working sync.WaitGroup // verbs
}

// record is what is kept of an export on the disk.
type record struct {
	Definition json.RawMessage `json:"definition"`
	Drained    bool            `json:"drained,omitempty"`
	Deleted    bool            `json:"deleted,omitempty"` // what is left of it is to be removed
}

// New makes a daemon without exports. Its Entered is for the registry that Open gets, its Report for Errors.
func New(o Options) *Daemon {
	return &Daemon{o: o, hub: newHub(), started: time.Now(), slots: map[string]*slot{}}
}

// Open reads the definitions and begins to serve them, each by itself: one that cannot be served is Failed, the others are. It
// returns when all have begun; Settled waits for what comes of it. dir and registry are the daemon's from now on to use, and stay the
// caller's to close.
func (d *Daemon) Open(dir *statedir.Dir, registry *export.Registry) error {
	values, bad, err := dir.Load()
	if err != nil {
		return err
	}
	d.dir, d.registry = dir, registry
	var deleted []export.Definition
	d.mu.Lock() // who asks for metrics is there already
	for _, v := range values {
		r, def, err := decode(v)
		if err != nil {
			bad = append(bad, dir.SetAside(v.Name, err))
			continue
		}
		if r.Deleted {
			deleted = append(deleted, def)
			continue
		}
		s := newSlot(def)
		s.drained, s.made = r.Drained, true
		s.launching = !r.Drained
		d.slots[def.Name] = s
	}
	d.opened = true
	d.mu.Unlock()
	for _, b := range bad {
		said := "a definition is damaged and is not served; look at the file, mend it, or remove it"
		if errors.Is(b.Err, statedir.ErrTooNew) {
			said = "a definition is not served; it stays as it is for the newer vublk that wrote it"
		}
		d.o.Log.Error(said, "file", b.File, "error", b.Err)
		d.setAside = append(d.setAside, b.File)
	}
	var served []*slot
	var names []string
	for _, s := range d.sorted("") {
		if s.launching {
			served, names = append(served, s), append(names, s.def.Name)
		}
	}
	d.registry.Disown(names...)
	for _, s := range served {
		d.launch(s)
	}
	for _, def := range deleted {
		d.bury(&def)
	}
	return nil
}

// bury removes what a predecessor has left that was killed while it deleted an export.
func (d *Daemon) bury(def *export.Definition) {
	d.sweep(def)
	if err := d.dir.Remove(def.Name); err != nil {
		d.o.Log.Error("an export is deleted, but its file is not; it is tried again at the next start", keyExport, def.Name, "error", err)
	}
}

func decode(v statedir.Value) (r record, def export.Definition, err error) {
	if err := json.Unmarshal(v.JSON, &r); err != nil {
		return r, def, errors.Wrap(err, "it is not an export's record")
	}
	var head struct {
		Version int `json:"version"`
	}
	// Before the rest, which may hold what only the newer program knows.
	if err := json.Unmarshal(r.Definition, &head); err == nil && head.Version > export.DefinitionVersion {
		return r, def, errors.Wrapf(statedir.ErrTooNew, "definition version %d, this one reads %d", head.Version, export.DefinitionVersion)
	}
	if def, err = export.Decode(r.Definition); err != nil {
		return r, def, err
	}
	if def.Name != v.Name {
		return r, def, errors.Errorf("it defines %q under the name %q", def.Name, v.Name)
	}
	return r, def, check(&def)
}

// sweep removes the name of a socket on which nobody listens: an export that has ended before it came to listen leaves the one
// of a killed predecessor.
func (d *Daemon) sweep(def *export.Definition) {
	if def.Socket.Path == "" {
		return
	}
	if err := vhostuser.RemoveStale(def.Socket.Path); err != nil {
		d.o.Log.Warn("a socket that nobody listens on is left", keyExport, def.Name, "error", err)
	}
}

// write keeps a definition.
func (d *Daemon) write(def *export.Definition, drained bool) error {
	return d.put(def, record{Drained: drained})
}

func (d *Daemon) put(def *export.Definition, r record) (err error) {
	if r.Definition, err = json.Marshal(def); err != nil {
		return err
	}
	return because(d.dir.Put(def.Name, r))
}

// launch serves an export without waiting for it: the file system of its image may hang. Nobody else has had the slot's turn yet.
func (d *Daemon) launch(s *slot) {
	s.turn <- struct{}{}
	d.working.Go(func() {
		e, err := d.registry.Create(s.def)
		s.change(func() { s.export, s.launching = e, false })
		if err != nil {
			if !d.isEnding() {
				d.failed(s, nil, err)
			}
			s.leave()
			return
		}
		e.Start()
		s.leave()
		<-e.Ready()
		if !e.Listened() && !d.isEnding() {
			err := e.Err()
			_ = d.registry.End(e) // has ended; what there is to resume waits in the registry
			d.failed(s, e, err)
		}
	})
}

// failed notes that e is not served because of err; unless a verb has put another in its place.
func (d *Daemon) failed(s *slot, e *export.Export, err error) {
	mine := false
	s.change(func() {
		if mine = s.export == e && !s.ending && !s.gone; mine {
			s.failure = "ended"
			if err != nil {
				s.failure = err.Error()
			}
		}
	})
	if mine && err != nil {
		name := s.definition().Name
		d.o.Log.Error("an export is not served", keyExport, name, "error", err)
		d.hub.publish(Event{Name: name, Kind: EventState, State: Failed, Message: err.Error()})
	}
}

// Settled returns when every export listens, has failed, or waits for an image that another process has; or when ctx ends.
func (d *Daemon) Settled(ctx context.Context) {
	const pause = 5 * time.Millisecond
	for _, s := range d.sorted("") {
		for {
			e, launching := s.present(), s.isLaunching()
			if !launching && (e == nil || isReady(e) || e.State() == export.WaitingForLock && time.Since(d.started) > time.Second) {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
		}
	}
}

func isReady(e *export.Export) bool {
	select {
	case <-e.Ready():
		return true
	default:
		return false
	}
}

// Entered is told of each state of each export, and does not block.
func (d *Daemon) Entered(e *export.Export, st export.State) {
	name := e.Definition().Name
	d.mu.Lock()
	s, ending := d.slots[name], d.ending
	d.mu.Unlock()
	if s == nil || ending {
		return
	}
	own := false
	s.change(func() { own = s.made && s.export == e && (st != export.Closed || !s.ending) })
	if own {
		d.hub.publish(Event{Name: name, Kind: EventState, State: states[st], Message: "it is " + states[st].String() + " now"})
	}
}

// Report tells subscribers of an error that concerns an export. It does not block.
func (d *Daemon) Report(name, text string) {
	d.hub.publish(Event{Name: name, Kind: EventError, Message: text})
}

// Subscribe brings the events of these exports, which need not be there, from now on; of all and of the daemon itself when no
// name is given. The caller closes it.
func (d *Daemon) Subscribe(names []string) *Subscription { return d.hub.subscribe(names) }

// sorted are the slots with names that begin so, in the order of their names.
func (d *Daemon) sorted(prefix string) []*slot {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name := range d.slots {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	list := make([]*slot, len(names))
	for i, name := range names {
		list[i] = d.slots[name]
	}
	return list
}

// List returns the exports with names that begin so, in the order of their names.
func (d *Daemon) List(prefix string) []Status {
	var list []Status
	for _, s := range d.sorted(prefix) {
		if s.isMade() {
			list = append(list, s.status())
		}
	}
	return list
}

// isMade tells whether others may know of it: it is served, or was.
func (s *slot) isMade() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made && !s.gone
}

// Get returns one export.
func (d *Daemon) Get(name string) (Status, error) {
	d.mu.Lock()
	s := d.slots[name]
	d.mu.Unlock()
	if s == nil || !s.isMade() {
		return Status{}, noSuch(name)
	}
	return s.status(), nil
}

// Stats are what an export has counted, zero when it is out of service, and where it is in its life.
type Stats struct {
	export.Stats
	State State
}

// Stats returns what the exports, in the order of their names, and the workers have counted.
func (d *Daemon) Stats() ([]Stats, []blk.WorkerStats) {
	var all []Stats
	for _, s := range d.sorted("") {
		if !s.isMade() {
			continue
		}
		st, _, e := s.state()
		one := Stats{Stats: export.Stats{Name: s.definition().Name}, State: st}
		if e != nil {
			one.Stats = e.Stats()
		}
		all = append(all, one)
	}
	return all, d.registry.Workers()
}

// Info tells about a daemon.
type Info struct {
	Version  string
	PID      int
	Started  time.Time
	StateDir string
	SetAside []string
	Holder   string
}

// Info tells about this one.
func (d *Daemon) Info() Info {
	return Info{
		Version: d.o.Version, PID: os.Getpid(), Started: d.started, StateDir: d.dir.Path(), SetAside: slices.Clone(d.setAside), Holder: d.o.Holder,
	}
}

// Unserved names the exports that should be served and are not. Before Open it is not known which they are.
func (d *Daemon) Unserved() (names []string) {
	d.mu.Lock()
	opened := d.opened
	d.mu.Unlock()
	if !opened {
		return []string{"(the definitions are not read yet)"}
	}
	for _, s := range d.sorted("") {
		if st, _, _ := s.state(); s.isMade() && (st == Failed || st == Created || st == WaitingForLock) {
			names = append(names, s.definition().Name)
		}
	}
	return names
}

// Absent are the exports that are not open.
func (d *Daemon) Absent() (list []Status) {
	for _, s := range d.sorted("") {
		if st, failure, e := s.state(); e == nil && s.isMade() {
			list = append(list, Status{Definition: s.definition(), State: st, Error: failure})
		}
	}
	return list
}

// End refuses verbs from now on and ends all subscriptions. The exports are the registry's to end.
func (d *Daemon) End() {
	d.mu.Lock()
	d.ending = true
	d.mu.Unlock()
	d.hub.close()
}

// Busy names the exports that a verb is at work on.
func (d *Daemon) Busy() (names []string) {
	for _, s := range d.sorted("") {
		if len(s.turn) > 0 {
			names = append(names, s.definition().Name)
		}
	}
	return names
}

// Wait returns when no verb runs any more, which is after End, and after the end of the registry at the latest.
func (d *Daemon) Wait() { d.working.Wait() }

func (d *Daemon) isEnding() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ending
}
