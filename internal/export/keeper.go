package export

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strconv"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/crashpoint"
	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/vhostuser"
)

// record is what a successor of this process is told of a session. It is versioned: fields may be added, and a program
// ignores those that it does not know. Needs goes up when that would be wrong.
type record struct {
	Version  int              `json:"version"`
	Needs    int              `json:"needs"` // the oldest version that a reader must be of
	Export   string           `json:"export"`
	Capacity uint64           `json:"capacity"` // bytes, as the front-end knows it
	Session  *vhostuser.State `json:"session"`
}

const (
	recordVersion = 1
	recordNeeds   = 1
)

// encode writes the record of a session as it is now.
func (e *Export) encode(st *vhostuser.State) ([]byte, error) {
	value, err := json.Marshal(&record{
		Version: recordVersion, Needs: recordNeeds, Export: e.def.Name, Session: st,
		Capacity: uint64(e.parts.disk.Info().Size),
	})
	return value, errors.Wrap(err, "write the session's state")
}

// Names that descriptors have with the holder: vublk-EXPORT-KIND, with a hash of the export's name, because systemd
// allows neither colons nor control characters nor more than 255 bytes (sd_pid_notify_with_fds(3)).
const (
	holderWord = "vublk-"
	kindListen = "listen"
	kindState  = "state-" // and which session of the export it is
	kindFile   = "fd-"    // see fileKind
)

// fileKind is the kind of one descriptor of a session.
func fileKind(session string, id uint64) string {
	return kindFile + session + "-" + strconv.FormatUint(id, 10)
}

func holderPrefix(export string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(export))
	return fmt.Sprintf(holderWord+"%016x-", h.Sum64())
}

// keeper has the holder keep one session of an export. It implements vhostuser.Keeper; the session's goroutine calls that.
type keeper struct {
	holder  *resume.Holder
	prefix  string
	session string // tells it from sessions before
	record  record // that load has found
	encode  func(*vhostuser.State) ([]byte, error)
	file    *resume.File
	stored  map[uint64]bool
	unsure  bool // whether all that is stored has arrived
	log     *slog.Logger
}

// newKeeper begins to keep a session; nil without a holder, and for a disk that ends with the process.
func (e *Export) newKeeper() *keeper {
	if e.holder == nil || e.given.Disk != nil || e.def.Disk.Store.Kind == storeMem {
		return nil
	}
	k := e.emptyKeeper(strconv.FormatInt(time.Now().UnixNano(), 36))
	file, err := resume.NewFile()
	if err == nil {
		k.file = file
		err = e.holder.Store(k.prefix+kindState+k.session, file.FD())
	}
	if err != nil {
		e.log.Warn("this session will not survive the death of vublk unless its front-end reconnects", "error", err)
		_ = k.file.Close()
		return nil
	}
	return k
}

func (e *Export) emptyKeeper(session string) *keeper {
	return &keeper{
		holder: e.holder, prefix: e.prefix, session: session, encode: e.encode, stored: map[uint64]bool{}, log: e.log,
	}
}

func (k *keeper) name(id uint64) string {
	return k.prefix + fileKind(k.session, id)
}

// Keep implements vhostuser.Keeper. A state that cannot be kept leaves none: an older one would have a successor serve what
// is not so any more.
func (k *keeper) Keep(st *vhostuser.State) error {
	err := k.keep(st)
	if err != nil {
		if e := k.file.Clear(); e != nil {
			k.log.Error("a session's state cannot be taken back", "error", e)
		}
	}
	return err
}

// keep has new descriptors kept first, then the state that names them; then those that it does not name any more are
// forgotten.
func (k *keeper) keep(st *vhostuser.State) error {
	used := map[uint64]bool{}
	for _, d := range st.Descriptors() {
		used[d.ID] = true
		if k.stored[d.ID] {
			continue
		}
		if err := k.holder.Store(k.name(d.ID), d.FD); err != nil {
			return err
		}
		k.stored[d.ID], k.unsure = true, true
	}
	if k.unsure {
		if err := k.holder.Barrier(); err != nil {
			return err
		}
		k.unsure = false
	}
	value, err := k.encode(st)
	if err != nil {
		return err
	}
	step := vhostuser.StepNone
	if st.Owed != nil {
		step = vhostuser.StepHandled
	}
	crashpoint.Reach("state-stored")
	if err := k.file.Save(value, uint8(step)); err != nil {
		return err
	}
	crashpoint.Reach("state-saved")
	for id := range k.stored {
		if !used[id] {
			delete(k.stored, id)
			if err := k.holder.Remove(k.name(id)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Step implements vhostuser.Keeper.
func (k *keeper) Step(s vhostuser.Step) {
	if err := k.file.Step(uint8(s)); err != nil {
		k.log.Error("a session's state cannot be written", "error", err)
	}
}

// drop forgets a session that has ended: its state first, so that nobody resumes it.
func (k *keeper) drop() {
	if k == nil {
		return
	}
	defer k.close()
	if k.holder == nil { // it came from a live process
		return
	}
	err := k.holder.Remove(k.prefix + kindState + k.session)
	crashpoint.Reach("session-forgotten")
	for id := range k.stored {
		if e := k.holder.Remove(k.name(id)); err == nil {
			err = e
		}
	}
	if err != nil {
		k.log.Debug("the holder was not told of a session's end", "error", err)
	}
}

// close lets go of the state and leaves it to the holder.
func (k *keeper) close() {
	if k != nil {
		_ = k.file.Close()
	}
}

// errTooNew tells that a session's state is of a program that is newer than this one.
var errTooNew = errors.New("its state is of a newer vublk than this one: start that one again")

// load reads the state of a predecessor's session. The keeper goes on with it.
func (e *Export) load(session string) (*keeper, vhostuser.Step, error) {
	k := e.emptyKeeper(session)
	fd := e.heritage.take(kindState + session)
	file, err := resume.OpenFile(fd)
	if err != nil {
		_ = fd.Close()
		return nil, 0, err
	}
	k.file = file
	value, step, err := file.Load()
	if err != nil {
		return k, 0, err
	}
	r := &k.record
	if err := json.Unmarshal(value, r); err != nil {
		return k, 0, errors.Wrap(err, "read the session's state")
	}
	switch {
	case r.Needs > recordVersion:
		return k, 0, errors.Wrapf(errTooNew, "state version %d, this one is %d", r.Needs, recordVersion)
	case r.Session == nil || r.Export != e.def.Name:
		return k, 0, errors.New("read the session's state: it is not of this export")
	}
	err = r.Session.Bind(func(id uint64) (int, bool) {
		f := e.heritage[fileKind(session, id)]
		return f.Int(), f != nil
	})
	for _, d := range r.Session.Descriptors() {
		k.stored[d.ID] = true
	}
	return k, vhostuser.Step(step), err
}

// forget closes what is left of the heritage and has the holder forget it, but for the descriptors that k goes on with.
func (e *Export) forget(k *keeper) {
	kept := map[string]bool{}
	if k != nil {
		for id := range k.stored {
			kept[fileKind(k.session, id)] = true
		}
	}
	for kind, f := range e.heritage {
		_ = f.Close()
		if e.takeOver == nil && !kept[kind] { // what is taken over no holder has had
			_ = e.holder.Remove(e.prefix + kind) // a holder that is lost has been reported
		}
	}
	e.heritage = nil
	e.owes.Store(false)
}
