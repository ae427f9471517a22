package cli

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/pflag"
)

// The values of --log-format.
const (
	formatText = "text"
	formatJSON = "json"
)

// LogOptions are the flags of the log.
type LogOptions struct {
	level, format *Choice
	trace         bool
}

// AddLogOptions adds --log-level, --log-format and --trace-messages.
func AddLogOptions(flags *pflag.FlagSet) *LogOptions {
	o := &LogOptions{
		level: AddChoice(flags, "log-level", "the least important lines to write; debug adds stack traces to errors", "info",
			"debug", "info", "warn", "error"),
		format: AddChoice(flags, "log-format", "how lines on stderr look", formatText, formatText, formatJSON),
	}
	flags.BoolVar(&o.trace, "trace-messages", false, "log each vhost-user message")
	Group(flags, "Log (on stderr)", "log-level", "log-format", "trace-messages")
	return o
}

// DefaultLog is the log of a command that has no flags for it.
func DefaultLog() *LogOptions {
	return AddLogOptions(pflag.NewFlagSet("", pflag.ContinueOnError))
}

// logger makes the process's logger.
func (o *LogOptions) logger(w io.Writer) *slog.Logger {
	level := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}[o.level.String()]
	h := &slog.HandlerOptions{Level: level, ReplaceAttr: flatten}
	if level == slog.LevelDebug {
		h.ReplaceAttr = withStack
	}
	if o.format.String() == formatJSON {
		return slog.New(slog.NewJSONHandler(w, h))
	}
	return slog.New(slog.NewTextHandler(w, h))
}

// open starts the log of a process that serves; end waits for a moment until it is written.
func (o *LogOptions) open(w io.Writer) (log *slog.Logger, end func()) {
	l := newLogWriter(w, func(lost uint64) []byte {
		var b bytes.Buffer
		// An error, so that no level hides it: errors may be among the lost.
		o.logger(&b).Error(fmt.Sprintf("%d log lines were lost: nobody read them in time", lost))
		return b.Bytes()
	})
	return o.logger(l), func() { l.close(logPatience) }
}

// flatten replaces an error by its text: the text handler would write the stack that pkg/errors recorded.
func flatten(_ []string, a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok {
		return slog.String(a.Key, err.Error())
	}
	return a
}

// withStack replaces an error by its text and that stack.
func withStack(_ []string, a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok {
		return slog.String(a.Key, fmt.Sprintf("%+v", err))
	}
	return a
}
