package scale

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/insight"
	"github.com/vublk/vublk/test/e2e/guest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// workers is how many a vublk of these tests has, unless a test says so.
const workers = 2

// fleet is a vublk with many exports, and their front-ends.
type fleet struct {
	backend *guest.Backend
	sockets []string
	fronts  []*vhostusertest.Frontend // by export, nil: none
	insight string                    // socket of package insight
}

// options of a fleet.
type options struct {
	exports int
	disk    string   // of each export, as in --export; %d is its number. Default: a null store
	args    []string // of serve
	wrap    []string // a program that runs vublk
	insight bool     // the build with package insight
}

// start starts vublk. The end of the test stops it, and demands that it ends well.
func start(t *testing.T, o options) *fleet {
	t.Helper()
	dir := t.TempDir()
	if o.disk == "" {
		o.disk = "store=null:1GiB"
	}
	f := &fleet{fronts: make([]*vhostusertest.Frontend, o.exports)}
	program := []string{vublk}
	if o.insight {
		f.insight = filepath.Join(dir, "insight")
		program = []string{"env", insight.Variable + "=" + f.insight, insightVublk}
	}
	argv := append(append(slices.Concat(o.wrap, program), "serve", "--workers="+number(workers), "--log-level=warn"), o.args...)
	for i := range o.exports {
		socket := filepath.Join(dir, fmt.Sprintf("s%d", i))
		f.sockets = append(f.sockets, socket)
		disk := o.disk
		if strings.Contains(disk, "%d") {
			disk = fmt.Sprintf(disk, i)
		}
		argv = append(argv, fmt.Sprintf("--export=socket-path=%s,%s", socket, disk))
	}
	var err error
	if f.backend, err = guest.StartBackend(filepath.Join(dir, "log"), f.sockets, argv...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.detach(t)
		f.stop(t)
		if t.Failed() {
			t.Logf("vublk's log:\n%.10000s", f.backend.Log())
		}
	})
	return f
}

// stop sends SIGTERM and demands exit status 0 and that no socket is left.
func (f *fleet) stop(t *testing.T) {
	t.Helper()
	if err := f.backend.Stop(); err != nil {
		t.Error(err)
	}
	for _, s := range f.sockets {
		if _, err := os.Lstat(s); !os.IsNotExist(err) {
			t.Errorf("a socket was left behind: %v", err)
			break
		}
	}
}

// attach connects a front-end to export i and starts its queues.
func (f *fleet) attach(i int, o vhostusertest.Options) error {
	if o.Memory == nil {
		o.Memory = []guestmem.RegionInfo{virtiotest.RAM(2 << 20)}
	}
	if o.TableLen == 0 {
		o.TableLen = 4
	}
	front, err := vhostusertest.Connect(f.sockets[i], o)
	if err != nil {
		return errors.Wrapf(err, "export %d", i)
	}
	f.fronts[i] = front
	return errors.Wrapf(front.Start(), "export %d", i)
}

// attachAll attaches a front-end to each export from the first one on, several at a time.
func (f *fleet) attachAll(t *testing.T, first int, o vhostusertest.Options) {
	t.Helper()
	const atOnce = 4
	ended := make(chan error, atOnce)
	for begin := range atOnce {
		go func() {
			var err error
			for i := first + begin; i < len(f.fronts) && err == nil; i += atOnce {
				err = f.attach(i, o)
			}
			ended <- err
		}()
	}
	for range atOnce {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// detach lets all front-ends go.
func (f *fleet) detach(t *testing.T) {
	t.Helper()
	for i, front := range f.fronts {
		if front == nil {
			continue
		}
		if err := front.Close(); err != nil {
			t.Error(err)
		}
		f.fronts[i] = nil
	}
}

func (f *fleet) pid() int { return f.backend.PID() }

// ask is insight.Number.
func (f *fleet) ask(t *testing.T, order string) uint64 {
	t.Helper()
	n, err := insight.Number(f.insight, order)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func number(i int) string { return strconv.Itoa(i) }
