package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"strings"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/duel"
)

// fall is how far below a recorded ratio is too far, beyond the spread of the control.
const fall = 0.15

// records are the ratios that must not fall, by the peer's version and what is compared.
type records struct {
	Peers map[string]ratios `json:"peers"`
}

type ratios map[string]float64

// readRecords reads a file; none is an empty one.
func readRecords(path string) (*records, error) {
	r := &records{Peers: map[string]ratios{}}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, nil
	case err != nil:
		return nil, errors.Wrap(err, "-recorded")
	}
	return r, errors.Wrapf(json.Unmarshal(text, r), "-recorded: %s", path)
}

func (r *records) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Wrap(os.WriteFile(path, append(text, '\n'), 0o644), "-record")
}

// of returns what is recorded beside a peer.
func (r *records) of(peer string) ratios {
	if r.Peers == nil {
		r.Peers = map[string]ratios{}
	}
	if r.Peers[peer] == nil {
		r.Peers[peer] = ratios{}
	}
	return r.Peers[peer]
}

// key is under which name a ratio is recorded.
func (e *entry) key(c duel.Comparison) string {
	return strings.Join([]string{e.Name, c.Metric.String(), c.Of + " / " + c.To}, ": ")
}

// gated tells whether a ratio is recorded: of vublk with something else.
func (e *entry) gated(c duel.Comparison) bool { return !e.Ungated && c.Of != ceiling }

// compare looks which ratios have fallen.
func (e *entry) compare(known ratios) {
	for i := range e.ratios {
		r := &e.ratios[i]
		r.recorded = known[e.key(r.Comparison)]
		r.fallen = r.recorded > 0 && e.gated(r.Comparison) && fallen(r.Ratio, r.recorded)
	}
}

// fallen tells whether a ratio is worse than the recorded one by more than fall, and the machine's noise is not why.
func fallen(r duel.Ratio, recorded float64) bool {
	if r.Metric.MoreIsBetter() {
		return r.Value*(1+r.Spread) < recorded*(1-fall)
	}
	return r.Value/(1+r.Spread) > recorded/(1-fall)
}

// keep writes the ratios down.
func (e *entry) keep(known ratios) {
	for _, r := range e.ratios {
		if e.gated(r.Comparison) {
			known[e.key(r.Comparison)] = float64(int(r.Value*1000+0.5)) / 1000
		}
	}
}
