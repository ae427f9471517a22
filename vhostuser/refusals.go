package vhostuser

import (
	"context"
	"log/slog"
	"maps"
	"slices"
)

// refusals counts, for each message, how often it was refused. A guest can make a sane front-end send such messages
// (SET_CONFIG) as fast as it likes, so only the first of each id is worth a line above debug level; the session's end
// tells how many there were. Its size is bounded by the dispatch table's: unknown ids are logUnknown's.
type refusals map[Request]uint64

// logRefusal logs a message that was refused while the session goes on.
func (s *Session) logRefusal(r Request, msg string, args ...any) {
	if s.refusals == nil {
		s.refusals = make(refusals)
	}
	s.refusals[r]++
	level := slog.LevelWarn
	if s.refusals[r] > 1 {
		level = slog.LevelDebug
	}
	s.log.Log(context.Background(), level, msg, append([]any{"request", r}, args...)...)
}

// logRefusals tells at the session's end how often what was told once has happened.
func (s *Session) logRefusals() {
	for _, r := range slices.Sorted(maps.Keys(s.refusals)) {
		if n := s.refusals[r]; n > 1 {
			s.log.Warn("vhost-user messages refused, of which only the first was logged", "request", r, "count", n)
		}
	}
}
