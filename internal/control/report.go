package control

import (
	"log/slog"
	"sync"
	"time"
)

// reportPause is between lines about clients: they can cause as many as they like.
const reportPause = time.Second

// reporter writes what clients do wrong to the log, one line a second at most.
type reporter struct {
	log *slog.Logger

	mu   sync.Mutex
	next time.Time
	lost int
}

// because are the fields of a line, and the error if there is one.
func because(err error, fields ...any) []any {
	if err != nil {
		fields = append(fields, "error", err)
	}
	return fields
}

func (r *reporter) warn(text string, fields ...any) {
	r.mu.Lock()
	now := time.Now()
	if now.Before(r.next) {
		r.lost++
		r.mu.Unlock()
		return
	}
	lost := r.lost
	r.next, r.lost = now.Add(reportPause), 0
	r.mu.Unlock()
	if lost > 0 {
		fields = append(fields, "not_reported_before", lost)
	}
	r.log.Warn(text, fields...)
}
