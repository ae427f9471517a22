package daemon

import (
	"context"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/export"
)

// grace is for how long a verb whose context has ended is waited for: what it has begun it takes back meanwhile.
const grace = time.Second

// admit counts a verb, unless the daemon is ending.
func (d *Daemon) admit() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ending {
		return errEnding
	}
	d.working.Add(1)
	return nil
}

// enter waits for the caller's turn on an export. Whoever enters calls run, which leaves, or leaves itself.
func (d *Daemon) enter(ctx context.Context, name string) (*slot, error) {
	for {
		d.mu.Lock()
		s := d.slots[name]
		d.mu.Unlock()
		if s == nil {
			return nil, noSuch(name)
		}
		if err := s.enter(ctx); err != nil {
			return nil, err
		}
		s.mu.Lock()
		gone := s.gone
		s.mu.Unlock()
		if gone { // meanwhile, and another may have the name
			s.leave()
			continue
		}
		if err := d.admit(); err != nil {
			s.leave()
			return nil, err
		}
		return s, nil
	}
}

// run does a verb's work in a goroutine, which leaves the slot at its end. When ctx ends before, the caller goes and the work
// goes on, or is taken back by itself.
func (d *Daemon) run(ctx context.Context, s *slot, work func() error) error {
	done := make(chan error, 1)
	go func() {
		defer d.working.Done()
		defer s.leave()
		done <- work()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(grace):
		return ctx.Err()
	}
}

// answer is run for verbs that answer with what the export is afterwards.
func (d *Daemon) answer(ctx context.Context, s *slot, work func() error) (Status, error) {
	if err := d.run(ctx, s, work); err != nil {
		return Status{}, err
	}
	return s.status(), nil
}

// refuse leaves the slot and passes err on.
func (d *Daemon) refuse(s *slot, err error) error {
	s.leave()
	d.working.Done()
	return err
}

// begin serves an export and waits until it listens. On an error nothing of it is left.
func (d *Daemon) begin(ctx context.Context, def export.Definition) (*export.Export, error) {
	leave, err := d.images.enter(ctx, def.Disk.File)
	if err != nil {
		return nil, err
	}
	defer leave()
	return d.beginInTurn(ctx, def)
}

// beginInTurn is begin for whoever has the turn with the image.
func (d *Daemon) beginInTurn(ctx context.Context, def export.Definition) (*export.Export, error) {
	e, err := d.registry.Create(def)
	if err != nil {
		return nil, because(err)
	}
	if err := d.listen(ctx, e); err != nil {
		_ = d.registry.End(e) // err says more
		return nil, err
	}
	return e, nil
}

// listen starts e and waits until it listens. On an error the caller ends it.
func (d *Daemon) listen(ctx context.Context, e *export.Export) error {
	e.Start()
	select {
	case <-e.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	if e.Listened() {
		return nil
	}
	if err := e.Err(); err != nil {
		return because(err)
	}
	return errEnding // everything is being ended
}

// end takes the export of a slot out of service: its requests are drained and on stable storage when it returns nil.
func (d *Daemon) end(s *slot) error {
	e := s.change(func() { s.ending = true })
	if e == nil {
		s.change(func() { s.ending = false })
		return nil
	}
	err := d.registry.End(e)
	s.change(func() { s.export, s.ending, s.failure = nil, false, "" })
	return err
}

// frontEnd names who is connected to the export of a slot, or waits for it; "": nobody.
func (d *Daemon) frontEnd(s *slot) string {
	if e := s.present(); e != nil {
		if who := e.FrontEnd(); who != "" {
			return who
		}
	}
	if d.registry.Owes(s.definition().Name) {
		return "it waits for the export since another daemon ended"
	}
	return ""
}

// tell publishes what became of an export.
func (d *Daemon) tell(kind EventKind, s *slot, message string) {
	st, _, _ := s.state()
	d.hub.publish(Event{Name: s.definition().Name, Kind: kind, State: st, Message: message})
}

// Create serves a new export and keeps its definition. With a size it makes the image when there is no file.
func (d *Daemon) Create(ctx context.Context, def export.Definition, createSize int64) (Status, error) {
	if def.Name == "" {
		def.Name = def.DefaultName()
	}
	if err := check(&def); err != nil {
		return Status{}, err
	}
	if err := checkCreate(&def, createSize); err != nil {
		return Status{}, err
	}
	s := newSlot(def)
	if err := s.enter(ctx); err != nil {
		return Status{}, err
	}
	if err := d.admit(); err != nil {
		return Status{}, err
	}
	if !d.reserve(s) {
		return Status{}, d.refuse(s, errorf(AlreadyExists, "name=%s: an export has this name already; take another, or delete that one", def.Name))
	}
	return d.answer(ctx, s, func() error {
		err := d.checkPlaces(&def)
		if err == nil {
			err = d.create(ctx, s, createSize)
		}
		if err != nil {
			d.forget(s)
		}
		return err
	})
}

// reserve takes a name for a new slot, unless another has it.
func (d *Daemon) reserve(s *slot) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.slots[s.def.Name] != nil {
		return false
	}
	d.slots[s.def.Name] = s
	return true
}

// forget gives a name free.
func (d *Daemon) forget(s *slot) {
	s.change(func() { s.gone = true })
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.slots, s.def.Name)
}

func (d *Daemon) create(ctx context.Context, s *slot, size int64) (err error) {
	def := s.definition()
	leave, err := d.images.enter(ctx, def.Disk.File)
	if err != nil {
		return err
	}
	defer leave()
	undo := func() {}
	if size > 0 {
		if undo, err = makeImage(def.Disk.File, size); err != nil {
			return because(err)
		}
	}
	e, err := d.beginInTurn(ctx, def)
	if err != nil {
		undo()
		return err
	}
	s.change(func() { s.export = e })
	if err := d.write(&def, false); err != nil {
		_ = d.end(s) // nobody was told that there is one
		undo()
		return err
	}
	s.change(func() { s.made = true })
	d.tell(EventCreated, s, "it was created")
	return nil
}

// Drain takes an export out of service; the definition says so from then on. An error about its last flush comes after that.
func (d *Daemon) Drain(ctx context.Context, name string) (Status, error) {
	s, err := d.enter(ctx, name)
	if err != nil {
		return Status{}, err
	}
	return d.answer(ctx, s, func() error {
		def := s.definition()
		if err := d.write(&def, true); err != nil {
			return err
		}
		s.change(func() { s.drained = true })
		err := d.end(s)
		d.registry.Forget(name)
		d.sweep(&def)
		if err != nil {
			return errors.Wrap(err, "the export is out of service, but what was written may not be on stable storage")
		}
		d.tell(EventState, s, "it is drained now")
		return nil
	})
}

// Start serves an export that is out of service.
func (d *Daemon) Start(ctx context.Context, name string) (Status, error) {
	s, err := d.enter(ctx, name)
	if err != nil {
		return Status{}, err
	}
	return d.answer(ctx, s, func() error {
		if s.present() != nil {
			return nil
		}
		before, why, _ := s.state()
		if err := d.end(s); err != nil { // it has ended by itself
			d.o.Log.Debug("an export ended before", keyExport, name, "error", err)
		}
		def := s.definition()
		e, err := d.begin(ctx, def)
		switch {
		case err == nil:
		case before == Drained: // and is that still
			return err
		case ctx.Err() != nil: // says nothing of the export: what does stays
			s.change(func() { s.failure = why })
			return err
		default:
			d.failed(s, nil, err)
			return err
		}
		s.change(func() { s.export = e })
		if err := d.write(&def, false); err != nil {
			_ = d.end(s) // it has served nobody for long
			s.change(func() { s.failure = err.Error() })
			return err
		}
		s.change(func() { s.drained, s.failure = false, "" })
		d.tell(EventState, s, "it is served again")
		return nil
	})
}

// Delete ends an export and forgets its definition. An error about its last flush comes after that.
func (d *Daemon) Delete(ctx context.Context, name string, force bool) error {
	s, err := d.enter(ctx, name)
	if err != nil {
		return err
	}
	if !force {
		if who := d.frontEnd(s); who != "" {
			return d.refuse(s, errorf(FailedPrecondition, "export %s: a front-end is connected (%s) and would lose its disk; end it first, or delete with force", name, who))
		}
	}
	return d.run(ctx, s, func() error {
		def := s.definition()
		if d.put(&def, record{Deleted: true}) != nil { // no room: at worst a socket's name is left
			if err := d.dir.Remove(name); err != nil {
				return because(err)
			}
		}
		err := d.end(s)
		d.registry.Forget(name)
		d.sweep(&def)
		if e := d.dir.Remove(name); e != nil { // the next start tries it again
			d.o.Log.Error("an export is deleted, but its file is not", keyExport, name, "error", e)
		}
		d.forget(s)
		d.hub.publish(Event{Name: name, Kind: EventDeleted, Message: "it was deleted"})
		return errors.Wrap(err, "the export is deleted, but what was written may not be on stable storage")
	})
}

// ClearError lets flushes be tried again after a failed one; false: none has failed.
func (d *Daemon) ClearError(ctx context.Context, name string) (bool, error) {
	s, err := d.enter(ctx, name)
	if err != nil {
		return false, err
	}
	cleared := false
	err = d.run(ctx, s, func() error {
		e := s.opened(ctx)
		if e == nil {
			return errorf(FailedPrecondition, "export %s is out of service, so it has no error to clear; start it", name)
		}
		if cleared = e.ClearFlushError(); cleared {
			d.tell(EventCleared, s, "flushes are tried again after a failed one")
		}
		return nil
	})
	if err != nil { // the work may go on, and cleared is its own
		return false, err
	}
	return cleared, nil
}

// Resize changes the size of the image, unless size is 0, and gives the one that it has to the guest.
func (d *Daemon) Resize(ctx context.Context, name string, size int64, shrink bool) (r export.Resized, err error) {
	s, err := d.enter(ctx, name)
	if err != nil {
		return r, err
	}
	if block := int64(s.definition().Device.LogicalBlockSize); size < 0 || size%block != 0 {
		return r, d.refuse(s, &export.OptionError{
			Option: "size", Value: export.FormatSize(size), Reason: "not a whole number of logical blocks of " + export.FormatSize(block),
			Remedy: "take a multiple of that",
		})
	}
	var got export.Resized
	err = d.run(ctx, s, func() error {
		e := s.opened(ctx)
		if e == nil {
			return errorf(FailedPrecondition, "export %s is out of service; start it, or change the file itself", name)
		}
		var err error
		if size == 0 {
			got, err = e.Resize(shrink)
		} else {
			got, err = e.SetSize(size, shrink)
		}
		if err != nil {
			return because(errors.Wrapf(err, "export %s", name))
		}
		if got.Changed() {
			d.tell(EventResized, s, "it has "+export.FormatSize(got.New)+" now")
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	return got, nil
}
