package metrics

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/test/e2e/guest"
)

// queryTime is how long an answer may take; or silence, of somebody else who took the port.
const queryTime = 30 * time.Second

// prometheus is a real one that scrapes one target each second.
type prometheus struct {
	address string
	client  *http.Client
	at      string // the time that queries ask of; "": now
}

func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	repo, err := guest.RepoRoot()
	must(t, err)
	program := filepath.Join(repo, "build", "guest", "prometheus", "usr", "bin", "prometheus")
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: make setup unpacks it", err)
	}
	p := &prometheus{client: &http.Client{Timeout: queryTime, Transport: &http.Transport{DisableKeepAlives: true}}}
	for range 10 {
		if p.start(t, program, target) {
			return p
		}
	}
	t.Fatal("others take each port before Prometheus does")
	return nil
}

// start returns when the target is scraped, or false when somebody else took the port meanwhile: Prometheus cannot be told to
// take any.
func (p *prometheus) start(t *testing.T, program, target string) bool {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	must(t, os.WriteFile(config, []byte("global: {scrape_interval: 1s, scrape_timeout: 1s}\n"+
		"scrape_configs: [{job_name: vublk, static_configs: [{targets: ['"+target+"']}]}]\n"), 0o600))
	p.address = freeAddress(t)
	b, err := guest.StartBackend(filepath.Join(dir, "log"), nil, program, "--config.file="+config,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.address, "--log.level=warn")
	must(t, err)
	t.Cleanup(func() {
		b.Kill()
		if t.Failed() {
			t.Logf("Prometheus' log:\n%s", b.Log())
		}
	})
	await(t, "Prometheus scrapes the target", func() bool {
		v, err := p.query(fmt.Sprintf("up{instance=%q}", target)) // that of another Prometheus has another
		return !b.Running() || err == nil && v == 1
	})
	if !b.Running() && !strings.Contains(b.Log(), "address already in use") {
		t.Fatal("Prometheus has ended")
	}
	return b.Running()
}

// freeAddress is one that nobody listens at. Its port is below those that the kernel gives to whoever asks for any, which may
// be another's a moment later.
func freeAddress(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	must(t, err)
	var first int
	_, err = fmt.Sscan(string(text), &first)
	must(t, err)
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first/2+rand.IntN(first/2)))
		if err == nil {
			must(t, l.Close())
			return l.Addr().String()
		}
	}
	t.Fatalf("no port below %d is free", first)
	return ""
}

func (p *prometheus) ask(promql string) url.Values {
	v := url.Values{"query": {promql}}
	if p.at != "" {
		v.Set("time", p.at)
	}
	return v
}

// query returns the one value that a query has.
func (p *prometheus) query(promql string) (float64, error) {
	r, err := p.client.Get("http://" + p.address + "/api/v1/query?" + p.ask(promql).Encode())
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.Body.Close() }()
	var answer struct {
		Error string
		Data  struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Error != "" || len(answer.Data.Result) != 1 {
		return 0, errors.Errorf("%s: %d results %s", promql, len(answer.Data.Result), answer.Error)
	}
	return strconv.ParseFloat(fmt.Sprint(answer.Data.Result[0].Value[1]), 64)
}

// awaitLoad waits until all of the load has been scraped, by a scrape that began after its end. What is asked then is asked of
// that scrape's time: when a later one takes too long, there are no values of now.
func (p *prometheus) awaitLoad(t *testing.T, ledgers ...*ledger) {
	t.Helper()
	end := float64(time.Now().UnixMilli()) / 1000
	await(t, "everything was scraped", func() bool {
		p.at = ""
		at, err := p.query("max(timestamp(vublk_requests_total))")
		if err != nil || at <= end {
			return false
		}
		p.at = strconv.FormatFloat(at, 'f', 3, 64)
		for _, l := range ledgers {
			v, err := p.query(fmt.Sprintf("sum(vublk_requests_total{export=%q})", l.name))
			if err != nil || v != float64(l.sum("requests", "")) {
				return false
			}
		}
		return true
	})
}

// check compares what Prometheus answers when all of the load has been scraped.
func (p *prometheus) check(t *testing.T, ledgers ...*ledger) {
	t.Helper()
	p.awaitLoad(t, ledgers...)
	checked := 0
	for _, l := range ledgers {
		for part, name := range metricNames {
			for _, op := range []string{"read", "write", "flush", "discard", "write_zeroes", "other"} {
				query := fmt.Sprintf("sum(%s{export=%q,op=%q})", name, l.name, op)
				if v, err := p.query(query); err != nil || v != float64(l.sum(part, op)) {
					t.Errorf("%s: %v, %v; want %d", query, v, err, l.sum(part, op))
				}
				checked++
			}
		}
		count := fmt.Sprintf("sum(vublk_request_duration_seconds_count{export=%q})", l.name)
		if v, err := p.query(count); err != nil || v != float64(l.sum("requests", "")) {
			t.Errorf("%s: %v, %v; want %d", count, v, err, l.sum("requests", ""))
		}
	}
	t.Logf("Prometheus: %d queries answered with the right figures", checked)
}
