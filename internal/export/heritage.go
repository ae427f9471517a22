package export

import (
	"slices"
	"strings"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/vhostuser"
)

// heritage is what a predecessor of an export has left with the holder, by kind.
type heritage map[string]*sys.FD

// resumable finds the session that a predecessor had: the youngest, where a holder has not heard of the end of one before.
func (h heritage) resumable() (session string, ok bool) {
	for kind := range h {
		if name, is := strings.CutPrefix(kind, kindState); is {
			if !ok || len(name) > len(session) || len(name) == len(session) && name > session {
				session = name
			}
			ok = true
		}
	}
	return session, ok
}

// close lets go of it, and leaves it to the holder.
func (h heritage) close() {
	for _, f := range h {
		_ = f.Close()
	}
}

// take removes what is called kind from the heritage, nil: nothing is.
func (h heritage) take(kind string) *sys.FD {
	f := h[kind]
	delete(h, kind)
	return f
}

// What a predecessor has left with the holder waits in the registry for the export that it is of. One that cannot begin, because
// its image is missing for example, gives it back: the next attempt goes on with the session.

// takeBack keeps what an export has not used.
func (r *Registry) takeBack(prefix string, h heritage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keepLocked(prefix, h)
}

func (r *Registry) keepLocked(prefix string, h heritage) {
	if r.closed { // the holder still has it
		h.close()
		return
	}
	for kind, f := range h {
		r.kept[prefix+kind] = f
	}
}

// Owes tells whether a front-end waits for the export called name since a predecessor of this process died.
func (r *Registry) Owes(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.exports[name]; e != nil && e.owes.Load() {
		return true
	}
	for kept := range r.kept {
		if strings.HasPrefix(kept, holderPrefix(name)+kindState) {
			return true
		}
	}
	return false
}

// Disown gives up what a predecessor has left and no export has claimed, nor will: none of those called but.
func (r *Registry) Disown(but ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.abandonLocked(func(name string) bool {
		return !slices.ContainsFunc(but, func(b string) bool { return strings.HasPrefix(name, holderPrefix(b)) })
	})
}

// Forget gives up what a predecessor has left for the export called name, which has not claimed it.
func (r *Registry) Forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.abandonLocked(func(kept string) bool { return strings.HasPrefix(kept, holderPrefix(name)) })
}

// abandonLocked closes descriptors, those of sockets that listen with their names, and has the holder forget them. One that is
// lost has been reported.
func (r *Registry) abandonLocked(which func(name string) bool) {
	for name, f := range r.kept {
		if !which(name) {
			continue
		}
		delete(r.kept, name)
		r.log.Warn("nothing is served any more that a descriptor was kept for: it is closed", "name", name)
		_ = r.holder.Remove(name)
		abandon(name, f)
	}
}

func abandon(name string, f *sys.FD) {
	path := ""
	if strings.HasPrefix(name, holderWord) && strings.HasSuffix(name, "-"+kindListen) {
		path = socketName(f.Int())
	}
	if path == "" {
		_ = f.Close()
		return
	}
	if l, err := vhostuser.ListenOn(path, f.Disown()); err == nil {
		_ = l.Close()
	}
}
