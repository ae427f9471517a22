package cli

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/daemon"
	"github.com/vublk/vublk/internal/export"
	"github.com/vublk/vublk/internal/metrics"
	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/internal/statedir"
	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/vhostuser"
)

// API is what speaks for a daemon to its clients, on l, which becomes its own. end tells them that it is over, lets calls end
// until ctx does, and returns when nobody is served any more.
type API func(d *daemon.Daemon, l *net.UnixListener, log *slog.Logger) (end func(ctx context.Context), err error)

// DaemonOptions are what Daemon needs.
type DaemonOptions struct {
	Process  ProcessOptions
	StateDir string
	Listen   string // the control socket's path
	Group    int    // whose members may connect to it; -1: the daemon's user only
	API      API
}

// daemonProcess is a Daemon that runs.
type daemonProcess struct {
	process
	o        DaemonOptions
	daemon   *daemon.Daemon
	dir      *statedir.Dir
	control  *vhostuser.Listener // nil: the socket was inherited
	endAPI   func(context.Context)
	handed   bool // everything is left to a holder
	watchdog *watchdog
}

// Daemon serves the exports of a state directory until SIGTERM or SIGINT. The error it returns knows its exit status.
func Daemon(o DaemonOptions) error {
	s := &daemonProcess{o: o}
	defer s.begin(o.Process)()
	err := s.start()
	if err == nil {
		err = s.wait()
	}
	if end := s.finish(); err == nil || errors.Is(err, errStopped) {
		err = end
	}
	return s.report(err)
}

const (
	// controlName is what the control socket is called among inherited descriptors.
	controlName = "control"
	// settleTime bounds the wait for the exports before the process says that it is ready: one whose image another process has
	// locked keeps the others from nothing.
	settleTime = 10 * time.Second
	// dirPatience is how long another process may keep the state directory; a predecessor ends when its last I/O does.
	dirPatience, heirPatience = 2 * time.Second, time.Minute
	// daemonDescriptors are what a thousand exports with a front-end each take: how many there will be is not known.
	daemonDescriptors = ownDescriptors + 1000*exportAttached
	// apiTime is how long calls may take to end.
	apiTime = time.Second
)

// start opens everything; what fails here is the caller's to mend: exit status 2.
func (s *daemonProcess) start() error {
	if err := growDescriptors(daemonDescriptors); err != nil {
		return err
	}
	s.daemon = daemon.New(daemon.Options{Version: s.o.Process.Version, Holder: s.holderName(), Log: s.log})
	s.busy = s.daemon.Busy
	s.log = slog.New(daemon.Errors(s.log.Handler(), s.daemon.Report))
	err := s.openRegistry(func(e *export.Export, st export.State) {
		s.tidier.note()
		s.daemon.Entered(e, st)
	})
	if err != nil {
		return err
	}
	socket, err := s.inherit(controlName)
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }() // listen works on a duplicate
	patience := dirPatience
	if s.inherited || s.holder.Supervised() {
		patience = heirPatience
	}
	if err := s.openDir(patience); err != nil {
		return err
	}
	// Whatever is in the way is known before any export begins.
	l, err := s.listen(socket)
	if err != nil {
		return Usage(err)
	}
	if err := s.tellMetrics(s.daemon.Unserved, s.absent, s.inherited); err != nil {
		_ = l.Close()
		return err
	}
	if err := s.daemon.Open(s.dir, s.registry); err != nil {
		_ = l.Close()
		return Usage(errors.Wrapf(err, "--state-dir=%s", s.o.StateDir))
	}
	if s.endAPI, err = s.o.API(s.daemon, l, s.log); err != nil {
		return Usage(err)
	}
	return s.settle()
}

// absent are the exports that are not open, for metrics. One that somebody has drained is down for nobody.
func (s *daemonProcess) absent() (list []metrics.Absent) {
	for _, a := range s.daemon.Absent() {
		list = append(list, metrics.Absent{Name: a.Definition.Name, State: a.State.String(), Wanted: a.State == daemon.Failed})
	}
	return list
}

// openDir takes the state directory. A signal ends the wait for whoever has it, or for a file system that hangs.
func (s *daemonProcess) openDir(patience time.Duration) error {
	type opened struct {
		dir *statedir.Dir
		err error
	}
	done := make(chan opened, 1)
	s.log.Debug("waiting for the state directory", "path", s.o.StateDir, "at_most", patience)
	go func() {
		dir, err := statedir.Open(s.o.StateDir, patience)
		done <- opened{dir, err}
	}()
	select {
	case o := <-done:
		s.dir = o.dir
		return Usage(errors.Wrapf(o.err, "--state-dir=%s", s.o.StateDir))
	case sig := <-s.signals:
		s.stop(sig)
		return errStopped
	}
}

// holderName says who keeps the sessions when this process dies.
func (s *daemonProcess) holderName() string {
	switch {
	case s.holder.Supervised():
		return "supervisor"
	case s.holder != nil:
		return "systemd"
	}
	return ""
}

// listen listens for clients on the socket that a predecessor, or systemd, has left, or else on a new one.
func (s *daemonProcess) listen(left *sys.FD) (*net.UnixListener, error) {
	if left != nil {
		f := os.NewFile(uintptr(left.Disown()), controlName)
		defer func() { _ = f.Close() }() // net works on a duplicate
		l, err := net.FileListener(f)
		if err != nil {
			return nil, errors.Wrap(err, "the control socket that was left to this process")
		}
		u, ok := l.(*net.UnixListener)
		if !ok {
			_ = l.Close()
			return nil, errors.New("the control socket that was left to this process is not a Unix socket")
		}
		u.SetUnlinkOnClose(false)
		return u, nil
	}
	path := s.o.Listen
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, errors.Wrapf(err, "--listen=%s", path)
	}
	l, err := vhostuser.Listen(path)
	if err != nil {
		return nil, errors.Wrapf(err, "--listen=%s", path)
	}
	s.control = l
	if err := s.permit(path); err != nil {
		return nil, errors.Wrapf(err, "--listen=%s", path)
	}
	return l.UnixListener, s.keepControl(l.UnixListener)
}

// permit says who may connect. Credentials are checked, too, so that it does no harm that everybody might until now.
func (s *daemonProcess) permit(path string) error {
	mode := os.FileMode(0o600)
	if s.o.Group >= 0 {
		mode = 0o660
		if err := os.Chown(path, -1, s.o.Group); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode)
}

// keepControl has the holder keep the socket: clients that call while this process is being replaced wait.
func (s *daemonProcess) keepControl(l *net.UnixListener) error {
	if s.holder == nil {
		return nil
	}
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = s.holder.Store(controlName, int(fd)) }); e != nil {
		err = e
	}
	if err != nil {
		s.log.Warn("the control socket ends with this process", "error", err)
	}
	return nil
}

// settle says that the process is ready when all exports are there, or are known not to be.
func (s *daemonProcess) settle() error {
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		s.daemon.Settled(ctx)
	}()
	select {
	case <-settled:
	case sig := <-s.signals:
		s.stop(sig)
		err := s.finishOthers(settled)
		cancel()
		<-settled
		return err
	}
	list, out := s.daemon.List(""), s.daemon.Unserved()
	s.log.Info("ready", "exports", len(list), "not_served", len(out), "state_dir", s.dir.Path(), "socket", s.o.Listen)
	s.tell(resume.FieldReady + "=1")
	s.watchdog = s.watch()
	return nil
}

// finishOthers waits for the exports before an end that a signal asks for, when a predecessor has died: what it had in flight
// nobody else finishes. Exports that are there resume their sessions before they end.
func (s *daemonProcess) finishOthers(settled <-chan struct{}) error {
	if !s.inherited || s.handed {
		return errStopped
	}
	late := time.NewTimer(drainTime)
	defer late.Stop()
	for {
		select {
		case <-settled:
			return errStopped
		case <-late.C:
			return errStopped
		case sig := <-s.signals:
			if time.Since(s.stopped) >= sameSignal {
				return errSecondSignal(sig)
			}
		}
	}
}

// stop is process.stop; the verbs end first.
func (s *daemonProcess) stop(sig os.Signal) {
	s.daemon.End()
	s.handed = s.process.stop(sig)
}

// wait returns on a signal, or when the supervisor wants everything.
func (s *daemonProcess) wait() error {
	done := make(chan struct{})
	defer close(done)
	go s.watchSizes(done)
	for {
		select {
		case <-s.clear:
			s.clearFlushErrors()
		case <-s.upgrade:
			s.log.Warn("SIGUSR2 is for the supervisor of a 'vublk daemon --supervise', this is not one")
		case err := <-s.handOver:
			if err == nil {
				s.daemon.End()
				s.handed = true
			}
			s.leave(err)
			if s.handed {
				return nil
			}
		case sig := <-s.signals:
			s.stop(sig)
			return errStopped
		}
	}
}

// finish ends what start has begun, as far as it came.
func (s *daemonProcess) finish() error {
	s.watchdog.close()
	if s.daemon != nil {
		s.daemon.End()
	}
	if s.endAPI != nil {
		ctx, cancel := context.WithTimeout(context.Background(), apiTime)
		s.endAPI(ctx)
		cancel()
	}
	if s.control != nil && !s.handed {
		_ = s.control.Close() // a second time; it is for the name
	}
	err := s.shutdown(s.daemon.Wait)
	if s.dir != nil {
		if e := s.dir.Close(); err == nil {
			err = e
		}
	}
	return err
}
