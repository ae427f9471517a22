package control

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/internal/daemon"
	"github.com/vublk/vublk/internal/export"
)

// definitionOf reads a Definition. Whether its parts suit each other is for export.Definition.Validate to say. An error names
// the field as the .proto does.
func definitionOf(p *vublkv1.Definition) (export.Definition, error) {
	d := export.NewDefinition()
	if p == nil {
		return d, &export.OptionError{Option: "blk_file", Reason: "missing", Remedy: "give a definition: at least socket_path and blk_file"}
	}
	d.Name = p.GetName()
	d.Socket.Path, d.Socket.Connect = p.GetSocketPath(), p.GetConnect()
	d.Disk.File, d.Disk.ReadOnly = p.GetBlkFile(), p.GetReadOnly()
	d.Disk.Incoming, d.Disk.AllowShrink = p.GetIncoming(), p.GetAllowShrink()
	d.Device.ConfigWCE, d.Device.Serial = p.GetConfigWce(), p.GetSerial()
	for _, path := range []struct{ field, value string }{
		{"socket_path", d.Socket.Path}, {"connect", d.Socket.Connect}, {"blk_file", d.Disk.File},
	} {
		if path.value != "" && !filepath.IsAbs(path.value) {
			return d, &export.OptionError{
				Option: path.field, Value: path.value, Reason: "not an absolute path, and the daemon works in a directory of its own",
				Remedy: "begin it with /",
			}
		}
	}
	if p.Direct != nil {
		d.Disk.Direct = p.GetDirect()
	}
	if p.LockTimeoutNs != nil {
		d.Disk.LockTimeout = time.Duration(p.GetLockTimeoutNs())
	}
	if d.Disk.LockTimeout < 0 {
		return d, &export.OptionError{
			Option: "lock_timeout_ns", Value: strconv.FormatInt(p.GetLockTimeoutNs(), 10), Reason: "a time is not negative",
			Remedy: "0 gives up at once",
		}
	}
	return d, setOptions(&d, p)
}

// setOptions sets what `vublk serve` has a text for.
func setOptions(d *export.Definition, p *vublkv1.Definition) error {
	number := func(n *uint32) string {
		if n == nil {
			return ""
		}
		return strconv.FormatUint(uint64(*n), 10)
	}
	texts := map[string]string{
		"num-queues": number(p.NumQueues), "cache": p.GetCache(), "flush-error": p.GetFlushError(), "store": p.GetStore(),
		"logical-block-size": number(p.LogicalBlockSize), "physical-block-size": number(p.PhysicalBlockSize), "serial": p.GetSerial(),
	}
	for _, o := range export.Options() {
		if text := texts[o.Key]; text != "" {
			if err := o.Set(d, text); err != nil {
				return inFields(err)
			}
		}
	}
	return nil
}

// ProtoOf writes a Definition, with every default.
func ProtoOf(d *export.Definition) *vublkv1.Definition {
	return &vublkv1.Definition{
		Name: d.Name, SocketPath: d.Socket.Path, Connect: d.Socket.Connect, BlkFile: d.Disk.File, Store: d.Disk.Store.String(),
		ReadOnly: d.Disk.ReadOnly, Direct: proto.Bool(d.Disk.Direct), LockTimeoutNs: proto.Int64(int64(d.Disk.LockTimeout)),
		Incoming: d.Disk.Incoming, AllowShrink: d.Disk.AllowShrink, NumQueues: proto.Uint32(uint32(d.Device.NumQueues)),
		Cache: string(d.Device.Cache), FlushError: string(d.Device.FlushError), ConfigWce: d.Device.ConfigWCE,
		LogicalBlockSize: proto.Uint32(d.Device.LogicalBlockSize), PhysicalBlockSize: physical(d.Device), Serial: d.Device.Serial,
	}
}

func physical(d export.DeviceDefinition) *uint32 {
	if d.PhysicalBlockSize == 0 {
		return nil
	}
	return proto.Uint32(d.PhysicalBlockSize)
}

// optionsOf turns the names of fields into the keys of options.
func optionsOf(fields map[string]string) (map[string]string, error) {
	if len(fields) == 0 {
		return nil, &export.OptionError{Option: "options", Reason: "missing", Remedy: `say what to change, such as {"cache": "writethrough"}`}
	}
	var known []string
	for _, o := range export.Options() {
		if !daemon.Stays(o.Key) {
			known = append(known, field(o.Key))
		}
	}
	options := map[string]string{}
	for name, value := range fields {
		key := strings.ReplaceAll(name, "_", "-")
		switch {
		case daemon.Stays(key) && key != "fd":
			return nil, &export.OptionError{
				Option: "options." + name, Value: value, Reason: "it is what the export is, and stays", Remedy: "create another export",
			}
		case !slices.Contains(known, name):
			remedy := "they are " + strings.Join(known, ", ")
			if near := export.Nearest(name, known); near != "" {
				remedy = "did you mean " + near + "?"
			}
			return nil, &export.OptionError{Option: "options." + name, Value: value, Reason: "no such option", Remedy: remedy}
		}
		options[key] = value
	}
	return options, nil
}

// field is what the .proto calls the option key.
func field(key string) string { return strings.ReplaceAll(key, "-", "_") }

// states maps State to that of the API.
var states = map[State]vublkv1.State{
	Created: vublkv1.State_STATE_CREATED, WaitingForLock: vublkv1.State_STATE_WAITING_FOR_LOCK,
	Listening: vublkv1.State_STATE_LISTENING, Attached: vublkv1.State_STATE_ATTACHED,
	Draining: vublkv1.State_STATE_DRAINING, Drained: vublkv1.State_STATE_DRAINED, Failed: vublkv1.State_STATE_FAILED,
}

func exportOf(s *Status) *vublkv1.Export {
	return &vublkv1.Export{
		Definition: ProtoOf(&s.Definition), State: states[s.State], Error: text(s.Error), CapacityBytes: unsigned(s.Capacity),
		FrontEnd: text(s.FrontEnd), FlushError: s.FlushError, RunningQueues: uint32(max(s.RunningQueues, 0)),
		BrokenQueues: uint32(max(s.BrokenQueues, 0)), Resumes: s.Resumes,
	}
}

// text makes what the kernel or another process has named fit for a message, whose strings are UTF-8.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

var kinds = map[EventKind]vublkv1.EventKind{
	EventCreated: vublkv1.EventKind_EVENT_KIND_CREATED, EventState: vublkv1.EventKind_EVENT_KIND_STATE,
	EventResized: vublkv1.EventKind_EVENT_KIND_RESIZED, EventUpdated: vublkv1.EventKind_EVENT_KIND_UPDATED,
	EventDeleted: vublkv1.EventKind_EVENT_KIND_DELETED, EventError: vublkv1.EventKind_EVENT_KIND_ERROR,
	EventCleared: vublkv1.EventKind_EVENT_KIND_CLEARED,
}

func eventOf(e *Event) *vublkv1.Event {
	p := &vublkv1.Event{TimeUnixNs: e.Time.UnixNano(), Name: text(e.Name), Kind: kinds[e.Kind], Message: text(e.Message)}
	if e.Kind == EventState {
		p.State = states[e.State]
	}
	return p
}

func infoOf(i *Info) *vublkv1.InfoResponse {
	p := &vublkv1.InfoResponse{
		Version: i.Version, Pid: int64(i.PID), StartedUnixNs: i.Started.UnixNano(), StateDir: text(i.StateDir), Holder: i.Holder,
	}
	for _, name := range i.SetAside {
		p.SetAside = append(p.SetAside, text(name))
	}
	return p
}
