package metrics

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/export"
	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// TestHealth: a worker that does not answer makes the process ill, and one goroutine waits for it, whoever asks.
func TestHealth(t *testing.T) {
	s := newSite(t, everything())
	s.want("/healthz", http.StatusOK, "ok")
	s.source.asked.Store(0)
	s.source.hang.Lock()
	var asking sync.WaitGroup
	for range 3 {
		asking.Go(func() {
			if status, text, err := s.get("/healthz"); err != nil || status != http.StatusServiceUnavailable || !strings.Contains(text, "does not answer") {
				t.Errorf("while a worker hangs: %v, %d %q", err, status, text)
			}
		})
	}
	asking.Wait()
	if n := s.source.asked.Load(); n != 1 {
		t.Errorf("%d wait for the worker", n)
	}
	s.want("/readyz", http.StatusOK, "ok") // another question
	s.source.hang.Unlock()
	for deadline := time.Now().Add(20 * time.Second); ; {
		if status, _, err := s.get("/healthz"); err != nil || time.Now().After(deadline) {
			t.Fatalf("afterwards: %v, %d", err, status)
		} else if status == http.StatusOK {
			break
		}
	}
}

func TestReady(t *testing.T) {
	s := newSite(t, everything())
	s.want("/readyz", http.StatusOK, "ok")
	s.unready.Store(&[]string{"one", "two"})
	if text := s.want("/readyz", http.StatusServiceUnavailable, ""); text != "not served:\none\ntwo\n" {
		t.Errorf("%q", text)
	}
	many := make([]string, 10000)
	s.unready.Store(&many)
	if text := s.want("/readyz", http.StatusServiceUnavailable, "…"); len(text) > 1000 {
		t.Errorf("%d bytes", len(text))
	}
	s.want("/", http.StatusOK, "/metrics")
	s.want("/metrics?queues=7", http.StatusBadRequest, "queues=sum")
	s.want("/else", http.StatusNotFound, "")
	r, err := s.client.Post("http://vublk/metrics", "text/plain", strings.NewReader("x"))
	if err != nil || r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", err, r)
	} else {
		_ = r.Body.Close()
	}
}

// TestOneScrapeAtATime: those that come together take turns, and one that waits too long is told so.
func TestOneScrapeAtATime(t *testing.T) {
	s := newSite(t, everything())
	var scraping sync.WaitGroup
	for range 8 {
		scraping.Go(func() {
			for range 5 {
				if status, _, err := s.get("/metrics"); err != nil || status != http.StatusOK {
					t.Errorf("%v, %d", err, status)
				}
			}
		})
	}
	scraping.Wait()
	if n := s.source.crowd.Load(); n != 1 {
		t.Errorf("%d scrapes at the same time", n)
	}
	s.source.hang.Lock()
	scraping.Go(func() {
		_, _, _ = s.get("/metrics") // whatever it gets, it gets it late
	})
	for s.source.inside.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	s.want("/metrics", http.StatusServiceUnavailable, "another scrape")
	s.source.hang.Unlock()
	scraping.Wait()
	s.want("/metrics", http.StatusOK, "vublk_build_info")
}

// TestClientsThatHang: many that connect and say nothing, or say a little, or do not read what they have asked for. They are
// got rid of, and others get their answer meanwhile.
func TestClientsThatHang(t *testing.T) {
	source := everything()
	const exports = 150 // an answer that no socket buffer holds
	for i := range exports {
		one := source.exports[0]
		one.Name, one.State = fmt.Sprintf("export-%d", i), export.Listening
		source.exports = append(source.exports, one)
	}
	s := newSite(t, source)
	words := []string{"", "GET /metr", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10), "\x00\xff\x16"}
	var all []net.Conn
	defer func() {
		for _, c := range all {
			_ = c.Close()
		}
	}()
	for i := range 4 * maxConnections {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		_, _ = io.WriteString(c, words[i%len(words)])
	}
	// Those that hang have asked before: 13 scrapes of all exports take their turns, which is long on a slow machine, and an
	// answer that takes too long is cut.
	for deadline, status := time.Now().Add(2*time.Minute), 0; status != http.StatusOK; {
		got, text, err := s.get("/metrics")
		cut := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		switch {
		case time.Now().After(deadline):
			t.Fatalf("no answer: %v, %d", err, got)
		case cut || err == nil && got == http.StatusServiceUnavailable && strings.Contains(text, "another scrape"):
		case err != nil || got != http.StatusOK || !strings.Contains(text, fmt.Sprintf("export-%d", exports-1)):
			t.Fatalf("%v, %d %q", err, got, text)
		default:
			status = got
		}
	}
	s.want("/healthz", http.StatusOK, "ok")
	if n := s.server.conns.open(); n > maxConnections {
		t.Errorf("%d connections", n)
	}
	begin := time.Now()
	for ; s.server.conns.open() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > 2*(readTimeout+writeTimeout) {
			t.Fatalf("%d clients that hang are still connected", s.server.conns.open())
		}
	}
	t.Logf("rid of %d that hang after %v", len(all), time.Since(begin).Round(time.Millisecond))
}

// TestUnixSocket: for this user only, in the place of a dead one's and not of a living one's, and gone in the end.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.sock")
	if err := vhostusertest.StaleSocket(path); err != nil {
		t.Fatal(err)
	}
	t.Run("served", func(t *testing.T) {
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		s := newSiteOn(t, everything(), l)
		s.scrape("/metrics")
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", err, info.Mode())
		}
		if _, err := Listen(path); !errors.Is(err, vhostuser.ErrInUse) {
			t.Errorf("a second one: %v", err)
		}
	})
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	for address, good := range map[string]bool{
		"localhost:9127": true, ":9127": true, "[::1]:0": true, "./m": true, "/run/m": true,
		"": false, "9127": false, "localhost": false, "localhost:": false, "localhost:99999": false, "metrics.sock": false, "a:b:1": false,
	} {
		if err := CheckAddress(address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}
