package metrics

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/pkg/errors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Limits. A scraper asks every few seconds and reads at once; so much is left for those that do not. Each request has a
// connection of its own: idle ones would be in the way of others.
const (
	maxConnections = 16
	readTimeout    = 5 * time.Second // of a request, headers and all
	writeTimeout   = 10 * time.Second
	maxHeader      = 8 << 10
	turnTimeout    = 5 * time.Second // to wait for another scrape
	closeTimeout   = time.Second
)

// Options are what Serve needs.
type Options struct {
	Source Source
	// Unready names what should be served and is not; nil: all that is. It must not block.
	Unready func() []string
	// Absent are exports of which Source knows nothing, because they are not open; nil: there are none. It must not block.
	Absent  func() []Absent
	Version string
	Log     *slog.Logger
}

// Absent is an export that is not open.
type Absent struct {
	Name, State string
	Wanted      bool // it should be served
}

// Server serves metrics until it is closed.
type Server struct {
	http  *http.Server
	conns *limited
	ended chan struct{}
}

// Serve begins to serve on l, which it owns.
func Serve(l net.Listener, o Options) *Server {
	s := &Server{
		http: &http.Server{
			Handler:     newHandler(o),
			ReadTimeout: readTimeout, ReadHeaderTimeout: readTimeout, WriteTimeout: writeTimeout,
			MaxHeaderBytes: maxHeader,
			ErrorLog:       slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug), // of what clients do
		},
		conns: limit(l, maxConnections),
		ended: make(chan struct{}),
	}
	s.http.SetKeepAlivesEnabled(false)
	go func() {
		defer close(s.ended)
		if err := s.http.Serve(s.conns); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error("metrics are not served any more", "error", err)
		}
	}()
	return s
}

// Close ends the server, and all its connections after a moment.
func (s *Server) Close() {
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	<-s.ended
}

func newHandler(o Options) http.Handler {
	mux := http.NewServeMux()
	scrape := func(sum bool) http.Handler {
		r := newRegistry(&collector{source: o.Source, absent: o.Absent, version: o.Version, sum: sum})
		return promhttp.HandlerFor(r, promhttp.HandlerOpts{
			ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelError), ErrorHandling: promhttp.HTTPErrorOnError,
		})
	}
	mux.Handle("GET /metrics", newScraper(scrape(false), scrape(true)))
	h := newHealth(o)
	mux.HandleFunc("GET /healthz", h.alive)
	mux.HandleFunc("GET /readyz", h.ready)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "vublk "+o.Version+"\n\n/metrics\n/metrics?queues=sum\n/healthz\n/readyz\n")
	})
	return mux
}

// answer writes a short text.
func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // a client that has gone
}
