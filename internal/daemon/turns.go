package daemon

import (
	"context"
	"path/filepath"
	"sync"
)

// turns has verbs on different names that make or open the same image do so one after the other: a Create that fails removes
// the file that it has made, and by then nobody else may have come to use it.
type turns struct {
	mu   sync.Mutex
	held map[string]*turn // by path
}

type turn struct {
	token chan struct{}
	users int // that hold it or wait for it
}

// enter waits for the caller's turn with the file at path; "" is nobody's. The caller calls leave.
func (t *turns) enter(ctx context.Context, path string) (leave func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	t.mu.Lock()
	u := t.held[path]
	if u == nil {
		u = &turn{token: make(chan struct{}, 1)}
		if t.held == nil {
			t.held = map[string]*turn{}
		}
		t.held[path] = u
	}
	u.users++
	t.mu.Unlock()
	forget := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if u.users--; u.users == 0 {
			delete(t.held, path)
		}
	}
	select {
	case u.token <- struct{}{}:
		return func() { <-u.token; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, ctx.Err()
	}
}
