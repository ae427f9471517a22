package crash

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/test/e2e/guest"
)

// supervising makes back-ends with more options.
func supervising(options ...string) maker {
	return func(dir, image string, r *rand.Rand) backend {
		socket := filepath.Join(dir, "s")
		argv := serve(socket, image, r, append([]string{"--supervise"}, options...)...)
		return &supervised{restarted: restarted{dir: dir, socket: socket, argv: argv}}
	}
}

// gone tells what a back-end that has ended has left.
func (b *supervised) gone() error {
	if err := syscall.Kill(b.worker, 0); !errors.Is(err, syscall.ESRCH) {
		return errors.Errorf("worker %d is still there: %v", b.worker, err)
	}
	if _, err := os.Lstat(b.socket); !os.IsNotExist(err) {
		return errors.Errorf("socket %s is still there: %v", b.socket, err)
	}
	return nil
}

// TestSupervisorStops: SIGTERM ends supervisor and worker with status 0, with a front-end attached as well.
func TestSupervisorStops(t *testing.T) {
	must(t, idle(t, supervising(), func(_ *life, b *supervised) error {
		if err := b.stop(); err != nil {
			return err
		}
		return b.gone()
	}))
}

// slowHandOver is a program that takes its time when it is asked to hand over.
func slowHandOver(t *testing.T) string {
	t.Helper()
	const handOver = `p.log.Info("handing over: `
	return patched(t, "internal/cli/process.go", handOver, "time.Sleep(time.Second); "+handOver)
}

// TestSignalsInHandOver: what is asked of the supervisor while one worker hands over to the next is not lost, and does not
// kill either.
func TestSignalsInHandOver(t *testing.T) {
	slow := slowHandOver(t)
	begin := func(b *upgraded) error {
		if err := b.signal(syscall.SIGUSR2); err != nil {
			return err
		}
		_, err := b.process.AwaitLog(regexp.MustCompile(`msg="handing over`), 1)
		return err
	}
	t.Run("SIGTERM", func(t *testing.T) {
		must(t, idle(t, upgrading(slow), func(_ *life, b *upgraded) error {
			if err := begin(b); err != nil {
				return err
			}
			if err := b.stop(); err != nil {
				return err
			}
			return b.gone()
		}))
	})
	t.Run("SIGTERM, and the next one is dead", func(t *testing.T) {
		must(t, idle(t, upgrading(slow), func(_ *life, b *upgraded) error {
			if err := begin(b); err != nil {
				return err
			}
			children, err := guest.Children(b.process.PID())
			if err != nil {
				return err
			}
			next := slices.DeleteFunc(children, func(pid int) bool { return pid == b.worker || !guest.Leads(pid) })
			if len(next) != 1 {
				return errors.Errorf("processes %v are next", next)
			}
			if err := guest.KillProcess(next[0]); err != nil {
				return err
			}
			if err := b.stop(); err != nil {
				return err
			}
			return b.gone()
		}))
	})
	t.Run("SIGUSR2", func(t *testing.T) {
		must(t, busy(t, upgrading(slow), func(l *life, b *upgraded) error {
			if err := begin(b); err != nil {
				return err
			}
			if err := b.signal(syscall.SIGUSR2); err != nil {
				return err
			}
			if _, err := b.process.AwaitLog(handedOver, 1); err != nil {
				return err
			}
			if strings.Contains(b.log(), "did not end well") {
				return errors.New("the worker that hands over was killed")
			}
			return l.goesOn(b, slow, 0)
		}))
	})
}

// idle has a front-end attached that makes no requests, while something happens that its back-end may not survive.
func idle[B backend](t *testing.T, m maker, happens func(*life, B) error) error {
	t.Helper()
	p := plan{shape: shape{packed: lab.seed&1 != 0, queues: 2}, maker: m, limit: limit, seed: lab.seed}
	_, err := p.lead(t, func(l *life) error {
		b, ok := l.back.(B)
		if !ok {
			return errors.Errorf("a %T", l.back)
		}
		return happens(l, b)
	})
	return err
}

// orphan is a vublk whose supervisor is killed. The worker goes on.
type orphan struct{ *supervised }

func orphaned(dir, image string, r *rand.Rand) backend {
	b, _ := supervising()(dir, image, r).(*supervised)
	return orphan{b}
}

// stop ends the worker as its supervisor would. We are its parent now.
func (b orphan) stop() error {
	if err := syscall.Kill(b.worker, syscall.SIGTERM); err != nil {
		return errors.Wrap(err, "SIGTERM to the worker")
	}
	ended := make(chan error, 1)
	go func() {
		var status unix.WaitStatus
		_, err := unix.Wait4(b.worker, &status, 0, nil)
		if err == nil && (!status.Exited() || status.ExitStatus() != 0) {
			err = errors.Errorf("the worker ends with %#x", status)
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-time.After(comeBackTime):
		_ = syscall.Kill(b.worker, syscall.SIGKILL)
		return errors.Errorf("the worker does not end within %v of SIGTERM: %v", comeBackTime, <-ended)
	}
}

// TestSupervisorKilled: the worker goes on, says so, and ends well when it is told to.
func TestSupervisorKilled(t *testing.T) {
	// Orphans become ours, so that there is an exit status to see.
	must(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	t.Cleanup(func() { must(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)) })
	must(t, busy(t, orphaned, func(l *life, b orphan) error {
		b.process.Kill()
		for deadline := time.Now().Add(comeBackTime); !strings.Contains(b.log(), "the supervisor is lost: this process goes on serving"); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				return errors.New("the worker does not say that its supervisor is lost")
			}
		}
		return l.progress()
	}))
}

// TestStopAtAnyMoment: SIGTERM ends a supervisor with status 0 and nothing left, whether its first worker has just begun, or
// died, or the next one has.
func TestStopAtAnyMoment(t *testing.T) {
	rounds := 20
	if lab.long {
		rounds = 100
	}
	r := rand.New(rand.NewPCG(lab.seed, 2<<32))
	t.Logf("VUBLK_SEED=%#x", lab.seed)
	for range rounds {
		dir := t.TempDir()
		image := filepath.Join(dir, "disk.raw")
		must(t, os.WriteFile(image, make([]byte, 1<<20), 0o600))
		b, _ := supervising()(dir, image, r).(*supervised)
		must(t, b.start())
		time.Sleep(time.Duration(r.IntN(10_000)) * time.Microsecond) // a moment by chance is what is wanted
		if r.IntN(2) == 0 {
			must(t, b.kill())
			time.Sleep(time.Duration(r.IntN(20_000)) * time.Microsecond)
		}
		err := b.stop()
		// One that was killed before it listened may not have said yet that it has a socket.
		if err == nil && strings.Contains(b.log(), "msg=listening") {
			err = b.gone()
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, b.log())
		}
	}
}

// TestStopWithoutImage: what a dead worker has left cannot be finished when somebody else has the image by then. That is said
// in time, and no name stays behind.
func TestStopWithoutImage(t *testing.T) {
	err := idle(t, supervising(), func(l *life, b *supervised) error {
		// Stopped, it starts nobody before the image is ours.
		if err := b.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		if err := b.kill(); err != nil {
			return err
		}
		image, err := os.Open(l.image)
		if err != nil {
			return err
		}
		defer func() { _ = image.Close() }()
		if err := unix.FcntlFlock(image.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK}); err != nil {
			return err
		}
		if err := b.signal(syscall.SIGCONT); err != nil {
			return err
		}
		if _, err := b.process.AwaitLog(regexp.MustCompile(`msg="worker started"`), 2); err != nil {
			return err
		}
		err = b.stop()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			return errors.Errorf("it ends with %v, want status 1", err)
		}
		if !strings.Contains(b.log(), "gave up after 5s: the images are not there yet") {
			return errors.New("it does not say why")
		}
		if err := b.gone(); err != nil {
			return err
		}
		return errGaveUp
	})
	if !errors.Is(err, errGaveUp) {
		t.Error(err)
	}
}

// errGaveUp is the end that a life is to have.
var errGaveUp = errors.New("given up")

// TestRestartLimit: a worker that dies again and again is given up, which is said.
func TestRestartLimit(t *testing.T) {
	const deaths = 4 // one more than may be
	err := idle(t, supervising("--restart-limit=3"), func(_ *life, b *supervised) error {
		for i := range deaths {
			if err := b.kill(); err != nil {
				return err
			}
			if err := b.start(); err != nil && i+1 < deaths {
				return err
			}
		}
		err := b.stop()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			return errors.Errorf("it ends with %v, want status 1", err)
		}
		for _, want := range []string{"the worker died 4 times within a minute, the last time by this: killed by SIGKILL; giving up (see --restart-limit)", "deaths=4"} {
			if !strings.Contains(b.log(), want) {
				return errors.Errorf("its log does not say %q", want)
			}
		}
		if _, err := os.Lstat(b.socket); !os.IsNotExist(err) {
			return errors.Errorf("socket %s is still there: %v", b.socket, err)
		}
		return errGaveUp
	})
	if !errors.Is(err, errGaveUp) {
		t.Error(err)
	}
}
