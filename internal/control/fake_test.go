package control

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/pkg/errors"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/export"
	"github.com/vublk/vublk/internal/leaktest"
)

func TestMain(m *testing.M) {
	if childMain() {
		return
	}
	leaktest.Main(m)
}

// fake is a Daemon that only remembers. Drain blocks until its context ends, when hold is set.
type fake struct {
	mu      sync.Mutex
	exports map[string]Status
	subs    map[*fakeSubscription]bool
	updated map[string]string
	fail    error // of everything that can fail

	buckets   int // of each histogram
	collected int // times that statistics were

	hold    bool
	running int         // calls that are held
	held    chan string // names of calls that are held now
	ended   chan error  // why their contexts ended
	most    int         // running at a time
}

func newFake() *fake {
	return &fake{exports: map[string]Status{}, subs: map[*fakeSubscription]bool{}, held: make(chan string, 10000), ended: make(chan error, 10000)}
}

func (f *fake) Create(_ context.Context, d export.Definition, size int64) (Status, error) {
	if err := d.Validate(); err != nil {
		return Status{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if d.Name == "" {
		d.Name = d.DefaultName()
	}
	if _, there := f.exports[d.Name]; there {
		return Status{}, &Error{Kind: AlreadyExists, Text: "name=" + d.Name + ": another export has it; take another name"}
	}
	if f.fail != nil {
		return Status{}, f.fail
	}
	s := Status{Definition: d, State: Listening, Capacity: size}
	f.exports[d.Name] = s
	f.sendLocked(Event{Time: time.Unix(1, 2), Name: d.Name, Kind: EventCreated, Message: "created"})
	return s, nil
}

func (f *fake) List(prefix string) (list []Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, s := range f.exports {
		if strings.HasPrefix(name, prefix) {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Definition.Name, b.Definition.Name) })
	return list
}

func (f *fake) Get(name string) (Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, there := f.exports[name]
	if !there {
		return s, notFound(name)
	}
	return s, f.fail
}

func (f *fake) change(name string, how func(*Status)) (Status, error) {
	if s, err := f.Get(name); err != nil {
		return s, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.exports[name]
	how(&s)
	f.exports[name] = s
	f.sendLocked(Event{Name: name, Kind: EventState, State: s.State})
	return s, nil
}

func (f *fake) Resize(_ context.Context, name string, size int64, _ bool) (r export.Resized, err error) {
	_, err = f.change(name, func(s *Status) {
		r.Old, r.New = s.Capacity, size
		s.Capacity = size
	})
	return r, err
}

func (f *fake) Update(_ context.Context, name string, options map[string]string, _ bool) (Status, error) {
	f.mu.Lock()
	f.updated = options
	f.mu.Unlock()
	return f.change(name, func(*Status) {})
}

// Drain is held, when the fake is told to, until its context ends.
func (f *fake) Drain(ctx context.Context, name string) (Status, error) {
	if f.hold {
		f.mu.Lock()
		f.running++
		f.most = max(f.most, f.running)
		f.mu.Unlock()
		f.held <- name
		<-ctx.Done()
		f.mu.Lock()
		f.running--
		f.mu.Unlock()
		f.ended <- ctx.Err()
		return Status{}, errors.WithStack(ctx.Err())
	}
	return f.change(name, func(s *Status) { s.State = Drained })
}

// atMost is how many calls were held at a time.
func (f *fake) atMost() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most
}

func (f *fake) Start(_ context.Context, name string) (Status, error) {
	return f.change(name, func(s *Status) { s.State = Listening })
}

func (f *fake) Delete(_ context.Context, name string, _ bool) error {
	if _, err := f.Get(name); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.exports, name)
	return nil
}

func (f *fake) ClearError(_ context.Context, name string) (bool, error) {
	_, err := f.change(name, func(s *Status) { s.FlushError = false })
	return true, err
}

func (f *fake) Info() Info {
	return Info{Version: "v1.2.3", PID: 4711, Started: time.Unix(5, 6), StateDir: "/state", SetAside: []string{"x\xff.damaged"}, Holder: "systemd"}
}

// Stats has one export with a lot to tell, for each that there is.
func (f *fake) Stats() (all []Stats, workers []blk.WorkerStats) {
	for _, e := range f.List("") {
		s := Stats{State: e.State}
		s.Name = e.Definition.Name
		q := blk.QueueStats{Index: 3, Worker: 1, InFlight: 2, Kicks: 7, Calls: 8, Bounced: 9, FlushesMerged: 10, Malformed: 11, Barriers: 12, Broken: 13}
		for i, op := range q.Ops() {
			*op = blk.OpStats{Requests: uint64(i), Bytes: uint64(512 * i), Errors: 1, Unsupported: 2, Latency: blk.Histogram{Sum: 100, Counts: make([]uint64, f.buckets)}}
			for b := range op.Latency.Counts {
				op.Latency.Counts[b] = uint64(b % 2)
			}
		}
		s.Device = blk.Stats{Total: q, Queues: []blk.QueueStats{q}, Fdatasyncs: 5, FdatasyncErrors: 6}
		s.Device.Total.Worker = -1
		s.Sessions, s.Resumes = 14, 15
		all = append(all, s)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.collected++
	return all, []blk.WorkerStats{{Index: 1, CPU: -1, Queues: 2, Idle: 3, Polling: 4, Busy: 5, PollsWon: 6, PollsLost: 7, Enters: 8, MovedIn: 9}}
}

type fakeSubscription struct {
	f      *fake
	events chan Event
	err    error
}

func (f *fake) Subscribe([]string) Subscription {
	s := &fakeSubscription{f: f, events: make(chan Event, 1024)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs[s] = true
	return s
}

// sendLocked does as the daemon does: a subscriber that does not read is cut off.
func (f *fake) sendLocked(e Event) {
	for s := range f.subs {
		select {
		case s.events <- e:
		default:
			s.err = &Error{Kind: Unavailable, Text: "1,024 events were not read; subscribe again"}
			close(s.events)
			delete(f.subs, s)
		}
	}
}

func (f *fake) send(e Event) (subscribers int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sendLocked(e)
	return len(f.subs)
}

func (s *fakeSubscription) Events() <-chan Event { return s.events }
func (s *fakeSubscription) Err() error           { return s.err }
func (s *fakeSubscription) Close() {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	delete(s.f.subs, s)
}

// rig is a Server and its socket.
type rig struct {
	*fake
	server *Server
	path   string
}

func newRig(t *testing.T, limits Limits) *rig { return newRigFor(t, limits, -1) }

func newRigFor(t *testing.T, limits Limits, group int) *rig {
	t.Helper()
	r := &rig{fake: newFake(), path: filepath.Join(t.TempDir(), "s")}
	server, err := New(Options{Daemon: r.fake, Group: group, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	r.server = server
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.path})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := server.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return r
}

// dial is a connection without a client on it.
func (r *rig) dial(t *testing.T) *net.UnixConn {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: r.path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (r *rig) client(t *testing.T) *ttrpc.Client {
	t.Helper()
	c := ttrpc.NewClient(r.dial(t))
	t.Cleanup(func() {
		_ = c.Close()
		_ = c.UserOnCloseWait(context.Background())
	})
	return c
}

func (r *rig) exportsClient(t *testing.T) vublkv1.ExportsService {
	return vublkv1.NewExportsClient(r.client(t))
}

func (r *rig) observeClient(t *testing.T) vublkv1.ObserveClient {
	return vublkv1.NewObserveClient(r.client(t))
}

// works fails the test when a new client gets no answer.
func (r *rig) works(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := ttrpc.NewClient(r.dial(t))
	defer func() { _ = c.Close() }()
	if info, err := vublkv1.NewObserveClient(c).Info(ctx, &vublkv1.InfoRequest{}); err != nil || info.GetPid() != 4711 {
		t.Errorf("the server does not answer any more: %v, %v", info, err)
	}
}
