package cli

import (
	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/export"
)

// watchSizes looks at the sizes of all exports at each SIGHUP, until done is closed. It is a goroutine of its own: a file
// system that hangs may keep it for ever, and no other signal waits for that.
func (p *process) watchSizes(done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-p.hangup:
			for _, e := range p.registry.List() {
				p.lookAtSize(e)
			}
		}
	}
}

// lookAtSize gives an export's guest the size that its disk has now, and logs what came of it.
func (p *process) lookAtSize(e *export.Export) {
	log := p.log.With("export", e.Definition().Name)
	r, err := e.Resize(false)
	size := []any{"old", export.FormatSize(r.Old), "new", export.FormatSize(r.New)}
	switch {
	case errors.Is(err, export.ErrFixedSize):
		log.Debug("its size is not looked at", "reason", err.Error())
	case errors.Is(err, export.ErrNotServing):
		log.Info("its size is not looked at", "reason", err.Error())
	case err != nil && r.Changed():
		log.Error("the disk's new size is refused", append(size, "error", err)...)
	case err != nil:
		log.Error("the disk's size cannot be looked at", "error", err)
	case r.New < r.Old:
		log.Warn("the disk has become smaller: requests beyond its end fail", size...)
	case r.Changed():
		log.Info("the disk has grown", size...)
	default:
		log.Info("the disk has the size it had", "size", export.FormatSize(r.New))
	}
}
