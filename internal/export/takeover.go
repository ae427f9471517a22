package export

import (
	"os"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/vhostuser"
)

// A new process takes an export over from an old one (live upgrade without a supervisor):
//
//	new: take-over ──► old: drains the session's requests
//	                   old: files… go (sockets, session, image) ──► new: opens everything
//	                   old: from here on hands off ◄── new: ready
//	                   old: yours, ends ──► new: starts the rings
//
// Whatever goes wrong before "yours" is in the new one's socket, the old process goes on; its front-end has seen a pause.

// Kinds of descriptors that only a live process hands over: the image's description, with the locks on it, so that nobody
// else gets it in between.
const (
	kindImage = "image"
	kindClaim = "claim" // the exclusive claim on a block device
)

// giveFree releases the image of an export without a session, at an operator's word.
func (e *Export) giveFree() error {
	if e.parts.gate == nil {
		return errors.New("a store has no image to release")
	}
	return e.parts.gate.giveFree()
}

// giveFreeUnder is giveFree with a session, which is suspended: its guest must be paused.
func (e *Export) giveFreeUnder(session *vhostuser.Session) error {
	for _, r := range session.State().Rings {
		if r.Started {
			return errors.Errorf("ring %d is started: pause the guest first ('stop' in QEMU's monitor)", r.Index)
		}
	}
	return e.giveFree()
}

// onlySession is the name of the session in what is handed over.
const onlySession = "0"

// bundle is descriptors by kind, with those of them that were made for the purpose.
type bundle struct {
	names []string
	fds   []int
	own   []interface{ Close() error }
}

func (b *bundle) add(kind string, fd int) {
	if fd >= 0 {
		b.names, b.fds = append(b.names, kind), append(b.fds, fd)
	}
}

func (b *bundle) close() {
	for _, c := range b.own {
		_ = c.Close()
	}
}

// pack gathers what a successor needs. session is suspended, nil: there is none.
func (e *Export) pack(session *vhostuser.Session) (b bundle, err error) {
	if l, ok := e.parts.socket.(*listener); ok {
		f, err := l.duplicate()
		if err != nil {
			return b, errors.Wrap(err, "duplicate the socket")
		}
		b.own = append(b.own, f)
		b.add(kindListen, f.Int())
	}
	if g := e.parts.gate; g != nil && g.locked.Load() {
		image, claim := g.file.Descriptors()
		b.add(kindImage, image)
		b.add(kindClaim, claim)
	}
	if session == nil {
		return b, nil
	}
	st := session.State()
	st.ConfigChanged = st.ConfigChanged || e.untold.Load()
	value, err := e.encode(st)
	if err != nil {
		return b, err
	}
	file, err := resume.NewFile()
	if err != nil {
		return b, err
	}
	b.own = append(b.own, file)
	if err := file.Save(value, uint8(vhostuser.StepNone)); err != nil {
		return b, err
	}
	b.add(kindState+onlySession, file.FD())
	for _, d := range st.Descriptors() {
		b.add(fileKind(onlySession, d.ID), d.FD)
	}
	return b, nil
}

// surrender hands the export to the process that calls. False: that did not happen, and the export is as it was.
func (e *Export) surrender(c *call, session *vhostuser.Session) (taken bool) {
	defer c.close()
	if err := e.offer(c, session); err != nil {
		e.log.Error("the export was not taken over, it goes on here", "by", peer(c.conn), "error", err)
		_ = c.send(operatorMessage{Error: err.Error()}) // it may be gone
		return false
	}
	// It is theirs from this word on, unless it cannot reach them any more.
	if err := c.send(operatorMessage{Step: stepYours}); err != nil {
		e.log.Error("the process that was to take the export over has gone, it goes on here", "by", peer(c.conn), "error", err)
		return false
	}
	e.handing.Store(true)
	if e.holder != nil {
		_ = e.holder.Remove(e.prefix + kindListen) // a holder that is lost has been reported
	}
	if e.parts.gate != nil {
		e.parts.gate.leave()
	}
	e.log.Info("export taken over", "by", peer(c.conn))
	return true
}

// offer sends everything and waits until the other side has it.
func (e *Export) offer(c *call, session *vhostuser.Session) error {
	if e.def.Disk.Store.Kind == storeMem {
		return errors.New("a memory store ends with its process, it cannot be taken over")
	}
	if e.given.Disk != nil {
		return errors.New("a disk that a program has made itself ends with it, it cannot be taken over")
	}
	b, err := e.pack(session)
	defer b.close()
	if err != nil {
		return err
	}
	for names, fds := b.names, b.fds; len(names) > 0; {
		n := min(len(names), operatorFDs)
		if err := c.send(operatorMessage{Step: stepFiles, Names: names[:n]}, fds[:n]...); err != nil {
			return err
		}
		names, fds = names[n:], fds[n:]
	}
	if err := c.send(operatorMessage{Step: stepGo}); err != nil {
		return err
	}
	return c.await(stepReady)
}

// takeBack resumes a session that was suspended for nothing, in this process.
func (e *Export) takeBack(session *vhostuser.Session, k *keeper) (*vhostuser.Session, error) {
	st, done, err := session.State().Duplicate()
	if err == nil {
		defer done()
	}
	if e := session.Release(); err == nil { // also when we are out of descriptors: the front-end then sees the end
		err = e
	}
	if err != nil {
		return nil, err
	}
	return vhostuser.Resume(st, vhostuser.StepNone, e.device(), e.sessionOptions(k))
}

// TakeOver is an export that another process is about to give up to this one.
type TakeOver struct {
	c     *conversation
	kept  map[string]*sys.FD // by kind
	taken bool               // it is ours; the runner's
}

// BeginTakeOver asks the process that serves d to give it up. From then on the export's guest waits: Registry.TakeOver and
// Start come next, or Abort, after which it goes on there.
func BeginTakeOver(d Definition) (*TakeOver, error) {
	if d.Socket.Path == "" {
		return nil, &OptionError{
			Option: "take-over", Value: "on", Reason: "it finds the old process by the path of the socket, and " + d.Socket.whereMet() + " has none",
			Remedy: "run it under --supervise, and upgrade it with SIGUSR2",
		}
	}
	c, err := order(d.Socket.Path, doTakeOver)
	if err != nil {
		return nil, errors.Wrap(err, "take over")
	}
	t := &TakeOver{c: c, kept: map[string]*sys.FD{}}
	for {
		m, fds, err := c.receive("")
		if err == nil && len(fds) != len(m.Names) {
			sys.CloseAll(fds)
			err = errors.Errorf("%d descriptors with %d names", len(fds), len(m.Names))
		}
		if err != nil {
			t.Abort()
			return nil, errors.Wrapf(err, "take over from the process that listens at %s", d.Socket.Path)
		}
		for i, name := range m.Names {
			_ = t.kept[name].Close()
			t.kept[name] = fds[i]
		}
		if m.Step == stepGo {
			return t, nil
		}
	}
}

// pending tells whether the old process still has the export.
func (t *TakeOver) pending() bool { return t != nil && !t.taken }

// Abort leaves the export where it is.
func (t *TakeOver) Abort() {
	t.c.close()
	for _, f := range t.kept {
		_ = f.Close()
	}
	t.kept = nil
}

// ErrNotTaken tells that the process before goes on with an export, or has died in this moment.
var ErrNotTaken = errors.New("the export was not taken over")

// claim is called when this process has everything it needs; when it returns nil the export is ours.
func (t *TakeOver) claim() error {
	if t == nil {
		return nil
	}
	defer t.c.close()
	if err := t.c.send(operatorMessage{Step: stepReady}); err != nil {
		return errors.Wrap(ErrNotTaken, err.Error())
	}
	err := t.c.await(stepYours)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// From now on it cannot say so any more, which it notices; it may have done so in this moment.
		_ = t.c.conn.CloseRead()
		err = t.c.await(stepYours)
	}
	if err != nil {
		return errors.Wrap(ErrNotTaken, err.Error())
	}
	t.taken = true
	return nil
}

// Release asks the export that listens at path to give its image free: its guest was migrated away while it was paused.
func Release(path string) error {
	c, err := order(path, doRelease)
	if err != nil {
		return err
	}
	defer c.close()
	return errors.Wrapf(c.await(stepDone), "release the image of the export at %s", path)
}
