package metrics

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/test/e2e/guest"
)

// prometheus is a real one that scrapes one target each second.
type prometheus struct {
	t       *testing.T
	address string
	client  *http.Client
}

func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	repo, err := guest.RepoRoot()
	must(t, err)
	program := filepath.Join(repo, "build", "guest", "prometheus", "usr", "bin", "prometheus")
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: make setup unpacks it", err)
	}
	dir := t.TempDir()
	config := "global: {scrape_interval: 1s, scrape_timeout: 1s}\n" +
		"scrape_configs: [{job_name: vublk, static_configs: [{targets: ['" + target + "']}]}]\n"
	must(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0") // an address that is free: it cannot be told to take any
	must(t, err)
	p := &prometheus{t: t, address: l.Addr().String(), client: &http.Client{
		Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true},
	}}
	must(t, l.Close())
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	cmd := exec.Command(program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address="+p.address, "--log.level=warn")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("Prometheus' log:\n%s", text)
		}
	})
	await(t, "Prometheus scrapes the target", func() bool {
		v, err := p.query("up")
		return err == nil && v == 1
	})
	return p
}

// query returns the one value that a query has.
func (p *prometheus) query(promql string) (float64, error) {
	r, err := p.client.Get("http://" + p.address + "/api/v1/query?query=" + url.QueryEscape(promql))
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

// awaitLoad waits until the last of the load has been scraped.
func (p *prometheus) awaitLoad(t *testing.T, ledgers ...*ledger) {
	t.Helper()
	await(t, "everything was scraped", func() bool {
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
