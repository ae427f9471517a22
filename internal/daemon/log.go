package daemon

import (
	"context"
	"log/slog"
)

// Errors makes a handler that passes everything on to h, and tells to what concerns an export and is an error: name is the
// export's, text what is to be told of it. So what the log says and what subscribers hear is one thing.
func Errors(h slog.Handler, to func(name, text string)) slog.Handler {
	return &errorTap{Handler: h, to: to}
}

// errorTap is that handler. It remembers the export that a logger was made for.
type errorTap struct {
	slog.Handler
	to   func(name, text string)
	name string
}

// keyExport is what packages export and daemon call the attribute with an export's name.
const keyExport = "export"

// Handle implements slog.Handler.
func (t *errorTap) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		name, text := t.name, r.Message
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case keyExport:
				name = a.Value.String()
			case "error":
				text += ": " + a.Value.String()
			}
			return true
		})
		if name != "" {
			t.to(name, text)
		}
	}
	return t.Handler.Handle(ctx, r)
}

// Enabled implements slog.Handler: errors are told whatever the log's level is.
func (t *errorTap) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelError || t.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (t *errorTap) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *t
	n.Handler = t.Handler.WithAttrs(attrs)
	for _, a := range attrs {
		if a.Key == keyExport {
			n.name = a.Value.String()
		}
	}
	return &n
}

// WithGroup implements slog.Handler.
func (t *errorTap) WithGroup(name string) slog.Handler {
	n := *t
	n.Handler = t.Handler.WithGroup(name)
	return &n
}
