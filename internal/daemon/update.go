package daemon

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/export"
)

// forEver are the options that make an export what it is.
var forEver = []string{"name", "socket-path", "fd", "connect", "blk-file", "store"}

// Stays tells whether the option called key makes an export what it is, so that Update does not change it.
func Stays(key string) bool { return slices.Contains(forEver, key) }

// quiet are those that no front-end has read: they take effect the next time that the image is opened.
var quiet = []string{"lock-timeout", "incoming"}

// Update changes options by their keys, all or none. Most of them a front-end has read already: with disconnect it loses its
// connection, without it such an option is refused while one is connected.
func (d *Daemon) Update(ctx context.Context, name string, options map[string]string, disconnect bool) (Status, error) {
	s, err := d.enter(ctx, name)
	if err != nil {
		return Status{}, err
	}
	before := s.definition()
	now, err := changed(before, options)
	if err != nil {
		return Status{}, d.refuse(s, err)
	}
	e := s.present()
	anew := needsNew(before, now)
	if anew && !disconnect {
		if who := d.frontEnd(s); who != "" {
			return Status{}, d.refuse(s, errorf(FailedPrecondition,
				"export %s: %s cannot change while a front-end is connected (%s) that has read it; end that first, or disconnect it if it connects again by itself",
				name, strings.Join(slices.Sorted(maps.Keys(options)), ", "), who))
		}
	}
	return d.answer(ctx, s, func() error {
		switch {
		case anew && e != nil:
			return d.replace(ctx, s, before, now)
		case anew:
			d.registry.Forget(name)
		}
		s.mu.Lock()
		drained := s.drained
		s.mu.Unlock()
		if err := d.write(&now, drained); err != nil {
			return err
		}
		s.change(func() { s.def = now })
		d.tell(EventUpdated, s, "its definition was changed")
		return nil
	})
}

// changed is a definition with other options.
func changed(def export.Definition, options map[string]string) (export.Definition, error) {
	known := map[string]export.Option{}
	for _, o := range export.Options() {
		if !Stays(o.Key) {
			known[o.Key] = o
		}
	}
	for _, key := range slices.Sorted(maps.Keys(options)) {
		o, ok := known[key]
		switch {
		case Stays(key):
			return def, &export.OptionError{Option: key, Value: options[key], Reason: "it is what the export is, and stays", Remedy: "create another export"}
		case !ok:
			return def, &export.OptionError{
				Option: key, Value: options[key], Reason: "no such option", Remedy: "they are " + strings.Join(slices.Sorted(maps.Keys(known)), ", "),
			}
		}
		if err := o.Set(&def, options[key]); err != nil {
			return def, err
		}
	}
	return def, check(&def)
}

// needsNew tells whether the difference is of a kind that only a new export has.
func needsNew(before, now export.Definition) bool {
	for _, o := range export.Options() {
		if !slices.Contains(quiet, o.Key) && o.Get(&before) != o.Get(&now) {
			return true
		}
	}
	return false
}

// replace serves an export by another definition; when that fails, by the one that it had.
func (d *Daemon) replace(ctx context.Context, s *slot, before, now export.Definition) error {
	defer s.change(func() { s.ending = false })
	e, err := d.swap(ctx, s, now)
	if err == nil {
		if err = d.write(&now, false); err == nil {
			s.change(func() { s.export, s.def, s.ending = e, now, false })
			d.tell(EventUpdated, s, "its definition was changed")
			return nil
		}
	}
	e, again := d.swap(context.WithoutCancel(ctx), s, before)
	switch {
	case again == nil:
		s.change(func() { s.export = e })
	case d.isEnding():
	default:
		_ = d.registry.End(s.change(func() { s.export, s.ending = nil, false }))
		d.failed(s, nil, again)
		err = errors.Wrapf(err, "%v; and before that", again)
	}
	return err
}

// swap ends the export of a slot and serves another one in its place, which nobody else gets meanwhile. The slot has an export,
// on an error one that has ended.
func (d *Daemon) swap(ctx context.Context, s *slot, def export.Definition) (*export.Export, error) {
	old := s.change(func() { s.ending = true })
	e, err := d.registry.Replace(old, def)
	if err != nil {
		return nil, because(err)
	}
	s.change(func() { s.export = e })
	return e, d.listen(ctx, e)
}
