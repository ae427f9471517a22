package export

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/crashpoint"
	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/internal/sys"
)

// RegistryOptions are the choices about a whole process.
type RegistryOptions struct {
	Workers int    // threads that do I/O for all exports; 0: one for each of CPUs, or for each CPU this process may run on
	CPUs    []int  // where they run, one on each; empty: wherever the kernel likes
	Poll    string // how long a worker looks for work before it sleeps: auto, off or a duration
	Trace   bool   // log each vhost-user message
	Log     *slog.Logger
	// Holder, when set, keeps what a successor of this process needs.
	Holder *resume.Holder
	// Changed, when set, is told of each state that an export has entered, by its runner. It must not block.
	Changed func(*Export, State)
}

// Registry owns the exports of a process and the workers they share. Any goroutine may call it.
type Registry struct {
	pool  *blk.Pool
	log   *slog.Logger
	trace bool

	holder  *resume.Holder
	changed func(*Export, State)

	mu      sync.Mutex
	taking  map[string]*TakeOver // by export
	kept    map[string]*sys.FD   // what no export has claimed, or one that failed has given back
	exports map[string]*Export   // by name
	closed  bool                 // none is created any more
}

// NewRegistry starts the workers. An error is an *OptionError, or about the kernel: io_uring is missing or forbidden.
func NewRegistry(o RegistryOptions) (*Registry, error) {
	poll, err := blk.ParsePoll(o.Poll)
	if err != nil {
		return nil, &OptionError{Option: "poll", Value: o.Poll, Reason: err.Error()}
	}
	if n := len(o.CPUs); n > 0 && o.Workers > n {
		return nil, &OptionError{
			Option: "workers", Value: strconv.Itoa(o.Workers), Reason: "each worker has a CPU of its own in cpus=" + blk.FormatCPUs(o.CPUs),
			Remedy: "take 1 to " + strconv.Itoa(n) + ", or name more CPUs",
		}
	}
	pool, err := blk.NewPool(blk.PoolOptions{Workers: o.Workers, CPUs: o.CPUs, Poll: poll, Log: o.Log})
	if cpu := (*blk.CPUError)(nil); errors.As(err, &cpu) {
		return nil, &OptionError{
			Option: "cpus", Value: blk.FormatCPUs(o.CPUs), Reason: cpu.Error(), Remedy: "leave it out, or change the process's cpuset",
		}
	}
	if err != nil {
		return nil, err
	}
	return &Registry{
		pool: pool, log: o.Log, trace: o.Trace, holder: o.Holder, changed: o.Changed, exports: map[string]*Export{}, kept: map[string]*sys.FD{},
	}, nil
}

// Create checks d and reserves its name, its socket and its image. It opens nothing: Export.Start does.
func (r *Registry) Create(d Definition) (*Export, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return r.create(d, Given{}, nil)
}

// Replace ends e and creates an export in its place. What e has reserved stays so meanwhile, and, on an error, until End.
func (r *Registry) Replace(e *Export, d Definition) (*Export, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	e.replaced = true
	r.mu.Unlock()
	if err := e.end(); err != nil {
		e.log.Error("an export that is replaced ended with an error", "error", err)
	}
	r.Forget(e.def.Name) // its session is not of this definition
	return r.create(d, Given{}, e)
}

// create is Create when d has been checked, in the place of another export, if any.
func (r *Registry) create(d Definition, g Given, instead *Export) (*Export, error) {
	d = d.withDefaults()
	c := claimOf(&d)
	c.disk = g.Disk
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errors.Errorf("export %s: everything is being ended", d.Name)
	}
	for _, other := range r.exports {
		if other == instead || other.State() == Closed && !other.replaced {
			continue
		}
		if e := c.conflict(other.claim, &d); e != nil {
			return nil, e
		}
	}
	log := r.log
	if g.Log != nil {
		log = g.Log
	}
	e := &Export{
		def: d, given: g, claim: c, pool: r.pool, trace: r.trace, log: log.With("export", d.Name),
		ready: make(chan struct{}), done: make(chan struct{}),
	}
	if r.changed != nil {
		e.state.changed = func(s State) { r.changed(e, s) }
	}
	e.holder, e.prefix, e.heritage = r.holder, holderPrefix(d.Name), heritage{}
	for name, f := range r.kept {
		if kind, ok := strings.CutPrefix(name, e.prefix); ok {
			e.heritage[kind] = f
			delete(r.kept, name)
		}
	}
	e.giveBack = r.takeBack
	if t := r.taking[d.Name]; t != nil {
		e.takeOver, e.heritage = t, t.kept
		delete(r.taking, d.Name)
	}
	if err := e.checkHeritage(); err != nil {
		if e.takeOver != nil {
			e.takeOver.Abort()
		} else {
			r.keepLocked(e.prefix, e.heritage)
		}
		return nil, errors.Wrapf(err, "export %s", d.Name)
	}
	_, owes := e.heritage.resumable()
	e.owes.Store(owes)
	e.ctx, e.stop = context.WithCancel(context.Background())
	r.exports[d.Name] = e
	return e, nil
}

// Inherit takes over what a predecessor has left with the holder, by name, for the exports that are created next.
func (r *Registry) Inherit(kept map[string]*sys.FD) {
	crashpoint.Reach("heritage-taken")
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, f := range kept {
		r.kept[name] = f
	}
}

// TakeOver asks the processes that serve definitions to give them up to this one. Their guests wait from now on, until the
// exports that are created next have started, or this process ends: then they go on where they were.
func (r *Registry) TakeOver(definitions []Definition) error {
	taking := map[string]*TakeOver{}
	for _, d := range definitions {
		d = d.withDefaults()
		t, err := BeginTakeOver(d)
		if err != nil {
			for _, other := range taking {
				other.Abort()
			}
			return err
		}
		taking[d.Name] = t
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taking = taking
	return nil
}

// HandOver ends all exports and leaves what is theirs to the holder. Done of each tells when it has ended. None is created any
// more: its session would end with this process.
func (r *Registry) HandOver() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	for _, e := range r.List() {
		e.HandOver()
	}
}

// List returns the exports in the order of their names.
func (r *Registry) List() []*Export {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*Export, 0, len(r.exports))
	for _, e := range r.exports {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *Export) int { return strings.Compare(a.def.Name, b.def.Name) })
	return list
}

// Remove ends the export called name and then forgets it: its requests are drained and on stable storage. Until then it
// keeps its name, its socket and its image from others, and Close from ending the workers.
func (r *Registry) Remove(name string) error {
	r.mu.Lock()
	e, known := r.exports[name]
	r.mu.Unlock()
	if !known {
		return errors.Errorf("no export is called %q", name)
	}
	return r.End(e)
}

// End is Remove for an export that the caller has. Nil when it has ended before.
func (r *Registry) End(e *Export) error {
	return r.remove(e)
}

func (r *Registry) remove(e *Export) error {
	err := e.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.exports[e.def.Name] == e { // or a new one took the name of the closed one
		delete(r.exports, e.def.Name)
	}
	return err
}

// Close ends all exports at once, then the workers, and lets none be created any more. It returns the first error; a disk
// that hangs makes it wait, and Pending says for what.
func (r *Registry) Close() error {
	r.mu.Lock()
	r.closed = true
	for _, t := range r.taking {
		t.Abort()
	}
	r.taking = nil
	heritage(r.kept).close() // the holder still has it
	r.kept = map[string]*sys.FD{}
	r.mu.Unlock()
	list := r.List()
	for _, e := range list {
		e.halt()
	}
	var first error
	for _, e := range list {
		if err := r.remove(e); first == nil && err != nil {
			first = errors.Wrapf(err, "export %s", e.def.Name)
		}
	}
	if err := r.pool.Close(); first == nil {
		first = err
	}
	return first
}

// Pending names the requests that are in flight.
func (r *Registry) Pending() []string {
	var lines []string
	for _, p := range r.pool.Pending() {
		lines = append(lines, p.String())
	}
	return lines
}
