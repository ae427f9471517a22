package metrics

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// vublk is the program under test, patience what a machine with other work may need.
var vublk string

const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	leaktest.MainAfter(m, func() (err error) {
		vublk, err = guest.BuildVublk()
		return err
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// program is a vublk that tells metrics.
type program struct {
	*guest.Backend
	t      *testing.T
	dir    string
	client *http.Client
}

// serve starts vublk with these exports, each by the name of its socket, and more options.
func serve(t *testing.T, dir, address string, exports []string, options ...string) *program {
	t.Helper()
	argv := []string{vublk, "serve", "--metrics=" + address}
	var sockets []string
	for _, e := range exports {
		name, disk, _ := strings.Cut(e, "=")
		sockets = append(sockets, filepath.Join(dir, name))
		argv = append(argv, "--export=name="+name+",socket-path="+filepath.Join(dir, name)+","+disk)
	}
	return start(t, dir, address, sockets, append(argv, options...))
}

func start(t *testing.T, dir, address string, sockets, argv []string) *program {
	t.Helper()
	backend, err := guest.StartBackend(filepath.Join(dir, "log"), sockets, argv...)
	must(t, err)
	p := &program{Backend: backend, t: t, dir: dir}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("vublk's log:\n%s", p.Log())
		}
	})
	p.client = &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if strings.Contains(address, "/") {
				return (&net.Dialer{}).DialContext(ctx, "unix", address)
			}
			tcp, err := p.told()
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, "tcp", tcp)
		},
	}}
	return p
}

// told is where the program says that it tells metrics. Its log is written beside what it does, so that may be still to come.
func (p *program) told() (string, error) {
	m, err := p.AwaitLog(regexp.MustCompile(`msg="telling metrics" address=(\S+)`), 1)
	if err != nil {
		return "", err
	}
	return m[1], nil
}

// address is told, which must be said.
func (p *program) address() string {
	p.t.Helper()
	address, err := p.told()
	must(p.t, err)
	return address
}

// get returns the status and the text of a page; 0: nobody answers.
func (p *program) get(path string) (status int, text string) {
	r, err := p.client.Get("http://vublk" + path)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err.Error()
	}
	return r.StatusCode, string(b)
}

// await polls until f is true.
func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
