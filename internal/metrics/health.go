package metrics

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

// aliveTimeout is how long the workers may take to answer: a thousand times what they need.
const aliveTimeout = 2 * time.Second

// maxUnready bounds what /readyz lists.
const maxUnready = 100

// health answers those who decide what becomes of the process.
type health struct {
	o Options

	mu    sync.Mutex
	asked chan struct{} // closed when the workers have answered; nil: they are not being asked
}

func newHealth(o Options) *health { return &health{o: o} }

// alive asks every worker. It says no when one does not answer, which no disk and no guest can bring about.
func (h *health) alive(w http.ResponseWriter, _ *http.Request) {
	patience := time.NewTimer(aliveTimeout)
	defer patience.Stop()
	select {
	case <-h.ask():
		answer(w, http.StatusOK, "ok\n")
	case <-patience.C:
		answer(w, http.StatusServiceUnavailable, "a worker does not answer\n")
	}
}

// ask asks the workers, or joins somebody who does already: whoever waits for one that hangs, one goroutine does.
func (h *health) ask() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked == nil {
		asked := make(chan struct{})
		h.asked = asked
		go func() {
			h.o.Source.Workers()
			h.mu.Lock()
			h.asked = nil
			h.mu.Unlock()
			close(asked)
		}()
	}
	return h.asked
}

// ready says whether everything is served that should be.
func (h *health) ready(w http.ResponseWriter, _ *http.Request) {
	list := h.o.Unready()
	if len(list) == 0 {
		answer(w, http.StatusOK, "ok\n")
		return
	}
	if len(list) > maxUnready {
		list = append(list[:maxUnready:maxUnready], "…")
	}
	answer(w, http.StatusServiceUnavailable, "not served:\n"+strings.Join(list, "\n")+"\n")
}
