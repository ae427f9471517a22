package control

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/internal/export"
)

func definition(name string) *vublkv1.Definition {
	return &vublkv1.Definition{Name: name, SocketPath: "/run/" + name + ".sock", Store: "null:1GiB"}
}

// TestVerbs takes an export through its life over a real socket.
func TestVerbs(t *testing.T) {
	r := newRig(t, Limits{})
	c, ctx := r.exportsClient(t), t.Context()
	check := func(step string, err error, e *vublkv1.Export, state vublkv1.State) {
		t.Helper()
		if err != nil || e.GetState() != state || e.GetDefinition().GetSocketPath() != "/run/vm.sock" {
			t.Fatalf("%s: %v, %v", step, e, err)
		}
	}
	created, err := c.Create(ctx, &vublkv1.CreateRequest{Definition: definition("vm"), CreateSizeBytes: 512})
	check("create", err, created.GetExport(), vublkv1.State_STATE_LISTENING)
	d := created.GetExport().GetDefinition()
	if !d.GetDirect() || d.GetNumQueues() != 256 || d.GetCache() != "auto" || d.GetLockTimeoutNs() != 60e9 || d.GetLogicalBlockSize() != 512 {
		t.Errorf("defaults are not filled in: %v", d)
	}
	got, err := c.Get(ctx, &vublkv1.GetRequest{Name: "vm"})
	check("get", err, got.GetExport(), vublkv1.State_STATE_LISTENING)
	resized, err := c.Resize(ctx, &vublkv1.ResizeRequest{Name: "vm", SizeBytes: 1024})
	if err != nil || resized.GetOldSizeBytes() != 512 || resized.GetNewSizeBytes() != 1024 {
		t.Errorf("resize: %v, %v", resized, err)
	}
	updated, err := c.Update(ctx, &vublkv1.UpdateRequest{Name: "vm", Options: map[string]string{"flush_error": "retry", "cache": "auto"}})
	check("update", err, updated.GetExport(), vublkv1.State_STATE_LISTENING)
	if want := map[string]string{"flush-error": "retry", "cache": "auto"}; !maps.Equal(r.updated, want) {
		t.Errorf("the daemon was given %v", r.updated)
	}
	drained, err := c.Drain(ctx, &vublkv1.DrainRequest{Name: "vm"})
	check("drain", err, drained.GetExport(), vublkv1.State_STATE_DRAINED)
	started, err := c.Start(ctx, &vublkv1.StartRequest{Name: "vm"})
	check("start", err, started.GetExport(), vublkv1.State_STATE_LISTENING)
	cleared, err := c.ClearError(ctx, &vublkv1.ClearErrorRequest{Name: "vm"})
	if err != nil || !cleared.GetCleared() {
		t.Errorf("clear-error: %v, %v", cleared, err)
	}
	list, err := c.List(ctx, &vublkv1.ListRequest{NamePrefix: "v"})
	if err != nil || len(list.GetExports()) != 1 {
		t.Errorf("list: %v, %v", list, err)
	}
	if _, err := c.Delete(ctx, &vublkv1.DeleteRequest{Name: "vm"}); err != nil {
		t.Error(err)
	}
	if _, err := c.Get(ctx, &vublkv1.GetRequest{Name: "vm"}); status.Code(err) != codes.NotFound {
		t.Errorf("get after delete: %v", err)
	}
	info, err := r.observeClient(t).Info(ctx, &vublkv1.InfoRequest{})
	if err != nil || info.GetVersion() != "v1.2.3" || info.GetHolder() != "systemd" || info.GetSetAside()[0] != "x\uFFFD.damaged" {
		t.Errorf("info: %v, %v", info, err)
	}
}

// TestBadInput: each mistake gets its code, and a message that names the field, the value and the way out.
func TestBadInput(t *testing.T) {
	r := newRig(t, Limits{})
	c, ctx := r.exportsClient(t), t.Context()
	if _, err := c.Create(ctx, &vublkv1.CreateRequest{Definition: definition("there")}); err != nil {
		t.Fatal(err)
	}
	create := func(change func(*vublkv1.Definition)) func() error {
		return func() error {
			d := definition("new")
			change(d)
			_, err := c.Create(ctx, &vublkv1.CreateRequest{Definition: d})
			return err
		}
	}
	update := func(options map[string]string) func() error {
		return func() error {
			_, err := c.Update(ctx, &vublkv1.UpdateRequest{Name: "there", Options: options})
			return err
		}
	}
	for _, b := range []struct {
		name string
		call func() error
		code codes.Code
		says []string
	}{
		{"no definition", func() error { _, err := c.Create(ctx, &vublkv1.CreateRequest{}); return err }, codes.InvalidArgument, []string{"definition.blk_file", "missing"}},
		{"no socket", create(func(d *vublkv1.Definition) { d.SocketPath = "" }), codes.InvalidArgument, []string{"definition.socket_path", "missing"}},
		{"two sockets", create(func(d *vublkv1.Definition) { d.Connect = "/c" }), codes.InvalidArgument, []string{"definition.connect", "contradicts"}},
		{"relative", create(func(d *vublkv1.Definition) { d.SocketPath = "vm.sock" }), codes.InvalidArgument, []string{"definition.socket_path=vm.sock", "absolute", "begin it with /"}},
		{"long path", create(func(d *vublkv1.Definition) { d.SocketPath = "/" + strings.Repeat("x", 107) }), codes.InvalidArgument, []string{"definition.socket_path=", "108 bytes"}},
		{"store", create(func(d *vublkv1.Definition) { d.Store = "nul:1" }), codes.InvalidArgument, []string{"definition.store=nul:1", "null:SIZE"}},
		{"cache", create(func(d *vublkv1.Definition) { d.Cache = "wrong" }), codes.InvalidArgument, []string{"definition.cache=wrong"}},
		{"no queues", create(func(d *vublkv1.Definition) { d.NumQueues = proto.Uint32(0) }), codes.InvalidArgument, []string{"definition.num_queues=0"}},
		{"many queues", create(func(d *vublkv1.Definition) { d.NumQueues = proto.Uint32(1 << 31) }), codes.InvalidArgument, []string{"definition.num_queues=2147483648"}},
		{"block size", create(func(d *vublkv1.Definition) { d.LogicalBlockSize = proto.Uint32(513) }), codes.InvalidArgument, []string{"definition.logical_block_size=513"}},
		{"negative", create(func(d *vublkv1.Definition) { d.LockTimeoutNs = proto.Int64(-1) }), codes.InvalidArgument, []string{"definition.lock_timeout_ns=-1"}},
		{"serial", create(func(d *vublkv1.Definition) { d.Serial = strings.Repeat("s", 21) }), codes.InvalidArgument, []string{"definition.serial="}},
		{"huge", func() error {
			_, err := c.Create(ctx, &vublkv1.CreateRequest{Definition: definition("new"), CreateSizeBytes: 1 << 63})
			return err
		}, codes.InvalidArgument, []string{"create_size_bytes=9223372036854775808", "no file is that long"}},
		{"twice", create(func(d *vublkv1.Definition) { d.Name = "there" }), codes.AlreadyExists, []string{"definition.name=there", "take another name"}},
		{"no name", func() error { _, err := c.Get(ctx, &vublkv1.GetRequest{}); return err }, codes.InvalidArgument, []string{"name", "missing"}},
		{"unknown name", func() error { _, err := c.Get(ctx, &vublkv1.GetRequest{Name: "a\nb"}); return err }, codes.NotFound, []string{`"a\nb"`}},
		{"no options", update(nil), codes.InvalidArgument, []string{"options", "missing"}},
		{"unknown option", update(map[string]string{"flush_erro": "retry"}), codes.InvalidArgument, []string{"options.flush_erro=retry", "did you mean flush_error?"}},
		{"option as a flag", update(map[string]string{"flush-error": "retry"}), codes.InvalidArgument, []string{"did you mean flush_error?"}},
		{"fixed option", update(map[string]string{"blk_file": "/x"}), codes.InvalidArgument, []string{"options.blk_file=/x", "create another export"}},
		{"fd", update(map[string]string{"fd": "3"}), codes.InvalidArgument, []string{"options.fd=3"}},
	} {
		t.Run(b.name, func(t *testing.T) {
			err := b.call()
			if status.Code(err) != b.code {
				t.Fatalf("%v, want %v", err, b.code)
			}
			for _, part := range b.says {
				if text := status.Convert(err).Message(); !strings.Contains(text, part) || strings.Contains(text, "\n") {
					t.Errorf("%q does not say %q in one line", text, part)
				}
			}
		})
	}
	if list := r.List(""); len(list) != 1 {
		t.Errorf("calls that failed left something: %v", list)
	}
}

// TestFieldsOfTheDaemon: what the daemon calls by an option's name, a client is told by its field's, with the value that it sent.
func TestFieldsOfTheDaemon(t *testing.T) {
	r := newRig(t, Limits{})
	c, ctx := r.exportsClient(t), t.Context()
	if _, err := c.Create(ctx, &vublkv1.CreateRequest{Definition: definition("vm")}); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{
		"create-size": func() error {
			_, err := c.Create(ctx, &vublkv1.CreateRequest{Definition: definition("new"), CreateSizeBytes: 1 << 20})
			return err
		},
		"size": func() error {
			_, err := c.Resize(ctx, &vublkv1.ResizeRequest{Name: "vm", SizeBytes: 1 << 20})
			return err
		},
		"flush-error": func() error {
			_, err := c.Update(ctx, &vublkv1.UpdateRequest{Name: "vm", Options: map[string]string{"flush_error": "1MiB"}})
			return err
		},
	}
	for option, want := range map[string]string{
		"create-size": "create_size_bytes=1048576: wrong", "size": "size_bytes=1048576: wrong", "flush-error": "options.flush_error=1MiB: wrong",
	} {
		r.fail = &export.OptionError{Option: option, Value: "1MiB", Reason: "wrong"}
		if err := calls[option](); status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != want {
			t.Errorf("%v; want %s", err, want)
		}
	}
	r.fail = &Error{Kind: FailedPrecondition, Text: "blk-file=/x: missing"}
	calls["start"] = func() error {
		_, err := c.Start(ctx, &vublkv1.StartRequest{Name: "vm"})
		return err
	}
	for call, want := range map[string]string{
		"create-size": "definition.blk_file=/x: missing", "start": "definition.blk_file=/x: missing", "flush-error": "options.blk_file=/x: missing",
	} {
		if err := calls[call](); status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != want {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// TestStatuses: what the daemon's errors become.
func TestStatuses(t *testing.T) {
	r := newRig(t, Limits{})
	c, ctx := r.exportsClient(t), t.Context()
	if _, err := c.Create(ctx, &vublkv1.CreateRequest{Definition: definition("vm")}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		err  error
		code codes.Code
		says string
	}{
		{&Error{Kind: FailedPrecondition, Text: "busy"}, codes.FailedPrecondition, "busy"},
		{errors.Wrap(&Error{Kind: Unavailable, Text: "ending"}, "vm"), codes.Unavailable, "vm: ending"},
		{&export.OptionError{Option: "blk-file", Value: "/x", Reason: "bad"}, codes.InvalidArgument, "blk_file=/x: bad"},
		{export.ErrNotServing, codes.FailedPrecondition, "not open"},
		{export.ErrFixedSize, codes.FailedPrecondition, "store"},
		{errors.New("two\nlines \xff"), codes.Internal, "two lines \uFFFD"},
		{errors.WithStack(context.DeadlineExceeded), codes.DeadlineExceeded, "deadline"},
		{errors.WithStack(context.Canceled), codes.Canceled, "given up"},
		{status.Error(codes.Aborted, "as it is"), codes.Aborted, "as it is"},
	} {
		r.mu.Lock()
		r.fail = s.err
		r.mu.Unlock()
		_, err := c.Resize(ctx, &vublkv1.ResizeRequest{Name: "vm"})
		if status.Code(err) != s.code || !strings.Contains(status.Convert(err).Message(), s.says) {
			t.Errorf("%v became %v", s.err, err)
		}
	}
}

// TestDeadlineReachesTheDaemon, and the client's end does.
func TestDeadlineReachesTheDaemon(t *testing.T) {
	r := newRig(t, Limits{})
	r.hold = true
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.exportsClient(t).Drain(ctx, &vublkv1.DrainRequest{Name: "vm"}); err == nil {
		t.Error("the call did not end with its deadline")
	}
	if err := <-r.ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the daemon's context ended with %v", err)
	}
}

// TestVanishedClientsEndTheirCalls: clients go away in mid-call, and the daemon is told.
func TestVanishedClientsEndTheirCalls(t *testing.T) {
	r := newRig(t, Limits{})
	r.hold = true
	const clients, each = 20, 10
	for range clients {
		c := r.client(t)
		for i := range each {
			go func() {
				_, _ = vublkv1.NewExportsClient(c).Drain(context.Background(), &vublkv1.DrainRequest{Name: fmt.Sprint(i)})
			}()
		}
		for range each {
			<-r.held
		}
		_ = c.Close()
	}
	for range clients * each {
		if err := <-r.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("a context ended with %v", err)
		}
	}
	r.works(t)
}

// TestEvents: a stream begins with its beginning, and brings what happens then.
func TestEvents(t *testing.T) {
	r := newRig(t, Limits{})
	stream, err := r.observeClient(t).Events(t.Context(), &vublkv1.EventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := stream.Recv(); err != nil || e.GetKind() != vublkv1.EventKind_EVENT_KIND_BEGIN {
		t.Fatalf("first %v, %v", e, err)
	}
	c := r.exportsClient(t)
	if _, err := c.Create(t.Context(), &vublkv1.CreateRequest{Definition: definition("vm")}); err != nil {
		t.Fatal(err)
	}
	e, err := stream.Recv()
	if err != nil || e.GetKind() != vublkv1.EventKind_EVENT_KIND_CREATED || e.GetName() != "vm" || e.GetTimeUnixNs() != 1e9+2 {
		t.Errorf("%v, %v", e, err)
	}
	if _, err := c.Drain(t.Context(), &vublkv1.DrainRequest{Name: "vm"}); err != nil {
		t.Fatal(err)
	}
	if e, err := stream.Recv(); err != nil || e.GetState() != vublkv1.State_STATE_DRAINED {
		t.Errorf("%v, %v", e, err)
	}
}

// TestCloseTellsEveryStream: none of them has to guess why it ended.
func TestCloseTellsEveryStream(t *testing.T) {
	r := newRig(t, Limits{})
	var streams []vublkv1.Observe_EventsClient
	for range 50 {
		stream, err := r.observeClient(t).Events(t.Context(), &vublkv1.EventsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		streams = append(streams, stream)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.server.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for _, stream := range streams {
		if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("a stream ended with %v", err)
		}
	}
}

// TestCloseEndsEverything: streams are told, calls get their time, then are cut.
func TestCloseEndsEverything(t *testing.T) {
	r := newRig(t, Limits{})
	r.hold = true
	stream, err := r.observeClient(t).Events(t.Context(), &vublkv1.EventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := r.exportsClient(t).Drain(context.Background(), &vublkv1.DrainRequest{Name: "vm"})
		failed <- err
	}()
	<-r.held
	idle := r.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- r.server.Close(ctx) }()
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
	select {
	case err := <-closed:
		t.Errorf("closed, while a call has time left: %v", err)
	default:
	}
	cancel()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil {
		t.Error("a call survived the server")
	}
	if err := idle.UserOnCloseWait(t.Context()); err != nil {
		t.Error(err)
	}
}
