package cli

import (
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// watchdog tells systemd that this process is well (sd_watchdog_enabled(3)): that its workers take orders, which is when they
// serve requests. A disk that hangs is not its matter: a restart would not mend it.
type watchdog struct {
	quit  chan struct{}
	ended sync.WaitGroup
}

// watch begins to tell systemd, if it wants to hear of it.
func (p *process) watch() *watchdog {
	interval, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		p.log.Warn("systemd's watchdog cannot be served", "error", err)
	}
	if err != nil || interval == 0 || p.holder == nil {
		return nil
	}
	w := &watchdog{quit: make(chan struct{})}
	w.ended.Go(func() {
		tick := time.NewTicker(interval / 3)
		defer tick.Stop()
		for {
			p.registry.Workers() // waits for each of them
			p.tell("WATCHDOG=1")
			select {
			case <-tick.C:
			case <-w.quit:
				return
			}
		}
	})
	return w
}

func (w *watchdog) close() {
	if w != nil {
		close(w.quit)
		w.ended.Wait()
	}
}
