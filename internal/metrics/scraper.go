package metrics

import (
	"bytes"
	"net/http"
	"time"
)

// scraper makes one scrape at a time. It is made in memory and written when the next one may begin, so that a client that
// does not read is in nobody's way. Who waits too long is told so.
type scraper struct {
	queues, sum http.Handler
	turn        chan struct{}
}

func newScraper(queues, sum http.Handler) *scraper {
	return &scraper{queues: queues, sum: sum, turn: make(chan struct{}, 1)}
}

func (s *scraper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from := s.queues
	switch r.URL.Query().Get("queues") {
	case "":
	case "sum":
		from = s.sum
	default:
		answer(w, http.StatusBadRequest, "queues=sum makes one of all queues of an export; leave it out for each by itself\n")
		return
	}
	patience := time.NewTimer(turnTimeout)
	defer patience.Stop()
	select {
	case s.turn <- struct{}{}:
	case <-r.Context().Done():
		return
	case <-patience.C:
		answer(w, http.StatusServiceUnavailable, "another scrape does not end\n")
		return
	}
	p := page{header: w.Header(), status: http.StatusOK}
	func() {
		defer func() { <-s.turn }()
		from.ServeHTTP(&p, r)
	}()
	w.WriteHeader(p.status)
	_, _ = w.Write(p.body.Bytes()) // a client that has gone
}

// page is a response in memory.
type page struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (p *page) Header() http.Header         { return p.header }
func (p *page) WriteHeader(status int)      { p.status = status }
func (p *page) Write(b []byte) (int, error) { return p.body.Write(b) }
