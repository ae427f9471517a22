package vhostuser

import (
	"slices"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// State is all that a session has been told: what another process needs to go on with the same connection as if nothing
// had happened. It is plain data but for its descriptors, which are numbers of the process that has it.
//
// What a driver chose of its device, and which requests are in flight, is in the in-flight buffers.
type State struct {
	Conn     Descriptor       `json:"conn"`
	Protocol ProtocolFeatures `json:"protocol"`
	Features uint64           `json:"features"` // acknowledged
	Memory   []MemoryState    `json:"memory,omitempty"`
	Rings    []RingState      `json:"rings,omitempty"`    // those that the front-end has said something of
	Inflight *BufferState     `json:"inflight,omitempty"` // the front-end's; nil: it has none
	Private  *BufferState     `json:"private,omitempty"`  // ours, of the same layout, where it has none
	Log      *LogState        `json:"log,omitempty"`
	LogAll   bool             `json:"log_all,omitempty"`
	Channel  Descriptor       `json:"channel"` // of SET_BACKEND_REQ_FD
	Outbox   Descriptor       `json:"outbox"`  // where answers are before they leave
	// ConfigChanged: the front-end has not been told of a change; ConfigUnread: it has not read the configuration.
	ConfigChanged bool  `json:"config_changed,omitempty"`
	ConfigUnread  bool  `json:"config_unread,omitempty"`
	Owed          *Owed `json:"owed,omitempty"`
}

// Descriptor is a file. Its ID is never used for another file in the life of a session, whatever becomes of the number FD; the
// ID 0 means that there is none.
type Descriptor struct {
	ID uint64 `json:"id,omitempty"`
	FD int    `json:"-"`
}

// MemoryState is one region of guest memory.
type MemoryState struct {
	guestmem.RegionInfo
	File Descriptor `json:"file"`
}

// RingState is one ring as the front-end has configured it. It may be nonsense: a ring is checked when it starts.
type RingState struct {
	Index   int         `json:"index"`
	Num     uint32      `json:"num,omitempty"`  // descriptors
	Base    virtio.Base `json:"base,omitempty"` // where it starts next
	Desc    uint64      `json:"desc,omitempty"` // front-end addresses, as in virtio.Config
	Driver  uint64      `json:"driver,omitempty"`
	Device  uint64      `json:"device,omitempty"`
	Flags   uint32      `json:"flags,omitempty"` // of SET_VRING_ADDR
	Log     uint64      `json:"log,omitempty"`   // guest-physical address of what is logged
	Enabled bool        `json:"enabled,omitempty"`
	Started bool        `json:"started,omitempty"`
	Kick    Descriptor  `json:"kick"`
	Call    Descriptor  `json:"call"`
	Err     Descriptor  `json:"err"`
}

// BufferState is an in-flight buffer: Size bytes from Offset on of File, for so many queues of so many descriptors.
type BufferState struct {
	File      Descriptor `json:"file"`
	Offset    uint64     `json:"offset,omitempty"`
	Size      uint64     `json:"size"`
	Queues    uint16     `json:"queues,omitempty"`
	QueueSize uint16     `json:"queue_size,omitempty"`
}

// Owed is a message that has been handled and the answer to it. Which of the two has left this process, a Step tells.
type Owed struct {
	Message []byte     `json:"message"`
	Reply   []byte     `json:"reply"`
	File    Descriptor `json:"file"`             // goes with the reply
	Packed  bool       `json:"packed,omitempty"` // the reply is in the outbox, or has left
}

// Step is how far the answer to a message has come.
type Step uint32

// The steps.
const (
	StepNone     Step = iota // nothing is owed
	StepHandled              // the message is still in the socket, or was taken out just now
	StepConsumed             // the answer has left, or is in the outbox, or, with a descriptor, nobody knows
)

// Keeper keeps a session's State for whoever comes after this process. Its methods are called by the session's goroutine.
type Keeper interface {
	// Keep returns when a successor of this process would find st, with StepHandled when an answer is owed and StepNone
	// otherwise. The descriptors stay the session's.
	Keep(st *State) error
	// Step notes the progress of what is owed in the State that was kept last.
	Step(s Step)
}

// keep hands the state to the keeper. A session whose state cannot be kept goes on: it has lost its insurance, which the
// keeper says.
func (s *Session) keep(owed *Owed) {
	if s.opts.Keeper == nil {
		return
	}
	st := s.State()
	if st.Owed = owed; owed != nil && s.replyFD != nil {
		owed.File = s.describe(s.replyFD)
	}
	s.ids.prune()
	if err := s.opts.Keeper.Keep(st); err != nil {
		s.logRefusal(0, "the session cannot be resumed if this process dies now", "error", err)
	}
}

func (s *Session) step(n Step) {
	if s.opts.Keeper != nil {
		s.opts.Keeper.Step(n)
	}
}

// identities gives descriptors numbers that are not used again.
type identities struct {
	last uint64
	of   map[*sys.FD]uint64
}

func (s *Session) describe(f *sys.FD) Descriptor {
	if f.Int() < 0 {
		return Descriptor{FD: -1}
	}
	id, known := s.ids.of[f]
	if !known {
		if s.ids.of == nil {
			s.ids.of = map[*sys.FD]uint64{}
		}
		s.ids.last++
		id = s.ids.last
		s.ids.of[f] = id
	}
	return Descriptor{ID: id, FD: f.Int()}
}

// recognise gives descriptors that have come the IDs of those that are the same open file: front-ends send an eventfd again,
// and the file of their memory once for each region. A holder may keep an open file only once (systemd does), so that it
// would have none when the older one is taken back.
func (s *Session) recognise(fds []*sys.FD) {
	if s.opts.Keeper == nil {
		return
	}
	for _, f := range fds {
		for known, id := range s.ids.of {
			if known.Int() >= 0 && sys.SameFile(f.Int(), known.Int()) {
				s.ids.put(f, id)
				break
			}
		}
		s.describe(f)
	}
}

// prune forgets descriptors that have been closed. As long as one is known here, no other has its address.
func (i *identities) prune() {
	for f := range i.of {
		if f.Int() < 0 {
			delete(i.of, f)
		}
	}
}

// State describes the session as it is now; for others when Serve has returned ErrSuspended. The descriptors stay the
// session's.
func (s *Session) State() *State {
	st := &State{
		Conn: s.describe(s.conn.own), Outbox: s.describe(s.outbox), Protocol: s.protocol, Features: s.features,
		Inflight: s.bufferState(&s.inflight), Private: s.bufferState(&s.private),
		Log: s.logState(), LogAll: s.migration.on,
	}
	st.Channel, st.ConfigChanged, st.ConfigUnread = s.backend.state(s.describe)
	for _, r := range s.memory.regions() {
		st.Memory = append(st.Memory, MemoryState{RegionInfo: r.Info(), File: s.describe(s.memory.files[r])})
	}
	for i := range s.rings {
		r := &s.rings[i]
		one := RingState{
			Index: i, Num: r.num, Base: r.base, Enabled: r.enabled, Started: r.started,
			Desc: uint64(r.addr.desc), Driver: uint64(r.addr.driver), Device: uint64(r.addr.device),
			Flags: r.addr.flags, Log: uint64(r.addr.log),
			Kick: s.describe(r.kick), Call: s.describe(r.call), Err: s.describe(r.err),
		}
		if (one != RingState{Index: i, Kick: noDescriptor, Call: noDescriptor, Err: noDescriptor}) {
			st.Rings = append(st.Rings, one)
		}
	}
	return st
}

var noDescriptor = Descriptor{FD: -1}

func (s *Session) bufferState(b *inflightBuffer) *BufferState {
	if b.fd == nil {
		return nil
	}
	return &BufferState{File: s.describe(b.fd), Offset: b.offset, Size: b.size, Queues: b.queues, QueueSize: b.queueSize}
}

// Descriptors lists the files of a State, each ID once.
func (st *State) Descriptors() []Descriptor {
	var list []Descriptor
	seen := map[uint64]bool{}
	st.each(func(d *Descriptor) {
		if !seen[d.ID] {
			list = append(list, *d)
		}
		seen[d.ID] = true
	})
	return list
}

// Bind sets the descriptors' numbers in this process, by their IDs. An error names one that is missing.
func (st *State) Bind(find func(id uint64) (fd int, ok bool)) error {
	var err error
	st.each(func(d *Descriptor) {
		fd, ok := find(d.ID)
		if !ok {
			err = errors.Errorf("descriptor %d of the session is missing", d.ID)
		}
		d.FD = fd
	})
	return err
}

// each visits the descriptors that there are, and marks the others.
func (st *State) each(visit func(*Descriptor)) {
	all := []*Descriptor{&st.Conn, &st.Channel, &st.Outbox}
	for i := range st.Memory {
		all = append(all, &st.Memory[i].File)
	}
	for i := range st.Rings {
		r := &st.Rings[i]
		all = append(all, &r.Kick, &r.Call, &r.Err)
	}
	for _, b := range []*BufferState{st.Inflight, st.Private} {
		if b != nil {
			all = append(all, &b.File)
		}
	}
	if st.Log != nil {
		all = append(all, &st.Log.File)
	}
	if st.Owed != nil {
		all = append(all, &st.Owed.File)
	}
	for _, d := range all {
		if d.ID == 0 {
			d.FD = -1
			continue
		}
		visit(d)
	}
}

// Duplicate returns the State with descriptors of its own, which done closes.
func (st *State) Duplicate() (dup *State, done func(), err error) {
	var own []*sys.FD
	done = func() {
		for _, f := range own {
			_ = f.Close()
		}
	}
	fds := map[uint64]int{}
	for _, d := range st.Descriptors() {
		f, err := sys.NewFD(d.FD).Dup()
		if err != nil {
			done()
			return nil, nil, err
		}
		own = append(own, f)
		fds[d.ID] = f.Int()
	}
	one := *st
	one.Memory, one.Rings = slices.Clone(st.Memory), slices.Clone(st.Rings)
	one.Inflight, one.Private = clone(st.Inflight), clone(st.Private)
	one.Log, one.Owed = clone(st.Log), clone(st.Owed)
	return &one, done, one.Bind(func(id uint64) (int, bool) {
		fd, ok := fds[id]
		return fd, ok
	})
}

// clone is a shallow copy; of nil, nil.
func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	one := *p
	return &one
}
