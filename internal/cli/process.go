package cli

import (
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/export"
	"github.com/vublk/vublk/internal/insight"
	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/internal/sys"
)

// drainTime is how long requests may take to end after the first signal.
const drainTime = 5 * time.Second

// sameSignal is for how long a further signal is taken for an echo of the first one: timeout(1), for one, signals its
// child and then the process group.
const sameSignal = 500 * time.Millisecond

// spareProcs is how many threads may run Go code beside the workers: sessions, the garbage collector, sysmon's netpoll.
// With none to spare a worker that returns from the kernel waits milliseconds for its turn.
const spareProcs = 3

// ProcessOptions are the choices about a process that serves, whatever it serves.
type ProcessOptions struct {
	Workers int   // 0: as many as CPUs, or as this process may run on
	CPUs    []int // of the workers; empty: wherever the kernel likes
	Poll    string
	Metrics string // where they are told, as metrics.Listen reads it; empty: nowhere
	Version string // of the program, for the metrics
	Log     *LogOptions
	Stderr  io.Writer
}

// process is the life of a process that serves: its signals, its log, who keeps its sessions, the registry.
type process struct {
	o        ProcessOptions
	log      *slog.Logger
	signals  chan os.Signal // SIGTERM, SIGINT
	stopped  time.Time      // when the first of them came
	clear    chan os.Signal // SIGUSR1
	upgrade  chan os.Signal // SIGUSR2, which is a supervisor's
	hangup   chan os.Signal // SIGHUP
	holder   *resume.Holder // nil: nobody takes our place
	handOver chan error     // nil: the holder wants that; an error: it has died

	inherited bool // a predecessor has left something
	registry  *export.Registry
	busy      func() []string // the exports that orders of clients are at work on; nil: there are no such orders
	tidier    *tidier
	teller    *teller
}

// begin takes the process over. The caller calls end, whatever happens.
func (p *process) begin(o ProcessOptions) (end func()) {
	if o.Workers == 0 {
		o.Workers = len(o.CPUs)
	}
	if o.Workers == 0 {
		o.Workers = runtime.NumCPU()
	}
	runtime.GOMAXPROCS(o.Workers + spareProcs)
	rename()
	insight.Begin()
	// A guest's disk must not die of a log line that nobody reads.
	signal.Ignore(syscall.SIGPIPE)
	p.o = o
	var closeLog func()
	p.log, closeLog = o.Log.open(o.Stderr)
	p.signals, p.clear = make(chan os.Signal, 2), make(chan os.Signal, 1)
	p.upgrade, p.hangup = make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(p.signals, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(p.clear, syscall.SIGUSR1)
	signal.Notify(p.upgrade, syscall.SIGUSR2)
	if !signal.Ignored(syscall.SIGHUP) { // nohup(1) means it
		signal.Notify(p.hangup, syscall.SIGHUP)
	}
	holder, err := resume.Connect()
	if err != nil {
		p.log.Warn("the sessions of this process end with it", "error", err)
	}
	p.holder = holder
	p.tidier = newTidier(o.Workers + spareProcs + idleThreads)
	return func() {
		p.teller.close()
		_ = holder.Close()
		p.tidier.stop()
		for _, c := range []chan os.Signal{p.signals, p.clear, p.upgrade, p.hangup} {
			signal.Stop(c)
		}
		closeLog()
	}
}

// rename calls this process what its program is called. A supervisor runs a descriptor (/proc/self/fd/11), and the kernel takes the
// name of a process, for ps, pgrep and the OOM killer's line, from there (execve(2), proc_pid_comm(5)). Without /proc it stays.
func rename() {
	_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0)
}

// openRegistry starts the workers; changed is told of each change of an export's state.
func (p *process) openRegistry(changed func(*export.Export, export.State)) error {
	registry, err := export.NewRegistry(export.RegistryOptions{
		Workers: p.o.Workers, CPUs: p.o.CPUs, Poll: p.o.Poll, Trace: p.o.Log.trace, Log: p.log, Holder: p.holder, Changed: changed,
	})
	if err != nil {
		return Usage(export.Under("--", err))
	}
	p.registry = registry
	return nil
}

// inherit takes what a predecessor has left with the holder, but for what is called own, which the caller gets. In an upgrade
// it waits here until that one has ended.
func (p *process) inherit(own string) (*sys.FD, error) {
	if p.holder == nil {
		return nil, nil
	}
	if p.holder.Supervised() {
		p.tell(resume.FieldStandby + "=1")
	}
	kept, err := p.holder.Inherited()
	var fd *sys.FD
	if own != "" {
		fd = kept[own]
		delete(kept, own)
	}
	p.registry.Inherit(kept)
	p.inherited = len(kept) > 0
	if err != nil {
		_ = fd.Close()
		return nil, err
	}
	if p.holder.Supervised() {
		p.handOver = make(chan error, 1)
		go func() { p.handOver <- p.holder.AwaitHandOver() }()
	}
	return fd, nil
}

// tell sends something to the holder; when it is lost, AwaitHandOver reports it.
func (p *process) tell(fields ...string) { _ = p.holder.Notify(fields...) }

// errStopped is the end that a signal asked for.
var errStopped = errors.New("stopped by a signal")

// stop begins the end that a signal asks for. Under systemd, which stays when this process goes, the sessions are left in its
// store: it may be about to start a successor (systemctl restart), and when it is not it closes them itself. It tells whether
// they are.
func (p *process) stop(sig os.Signal) (stay bool) {
	p.stopped = time.Now()
	p.tell(resume.FieldStopping + "=1")
	if p.holder != nil && !p.holder.Supervised() && p.holder.Lost() == nil {
		p.log.Info("stopping: requests in flight end, then everything is flushed; sessions and sockets stay with systemd", "signal", sig.String())
		p.registry.HandOver()
		return true
	}
	p.log.Info("stopping: requests in flight end, then everything is flushed", "signal", sig.String())
	return false
}

// leave does what the supervisor wants: it gets everything.
func (p *process) leave(err error) {
	p.handOver = nil
	if err != nil {
		p.log.Error("the supervisor is lost: this process goes on serving, and nobody will take its place", "error", err)
		return
	}
	p.log.Info("handing over: requests in flight end, sessions and sockets stay with the supervisor")
	p.registry.HandOver()
}

// clearFlushErrors lets flushes be tried again on all exports where one has failed.
func (p *process) clearFlushErrors() {
	for _, e := range p.registry.List() {
		if e.ClearFlushError() {
			p.log.Warn("flushes are tried again after a failed one", "export", e.Definition().Name)
		}
	}
}

func errSecondSignal(sig os.Signal) error {
	return errors.Errorf("second signal (%v): ended at once; writes that no flush covered may be lost", sig)
}

// shutdown drains and flushes everything, and waits for what else there is to wait for, as long as that may take and no second
// signal comes.
func (p *process) shutdown(wait func()) error {
	if p.registry == nil {
		return nil
	}
	closed := make(chan error, 1)
	go func() {
		err := p.registry.Close()
		wait()
		closed <- err
	}()
	timeout := time.NewTimer(drainTime)
	defer timeout.Stop()
	for {
		select {
		case err := <-closed:
			return err
		case sig := <-p.signals:
			if p.stopped.IsZero() { // it all ends because of an error
				p.stopped = time.Now()
			}
			if time.Since(p.stopped) < sameSignal {
				continue
			}
			return errSecondSignal(sig)
		case <-timeout.C:
			return errors.Errorf("gave up after %v: %s", drainTime, p.pending())
		}
	}
}

// pending names the requests that do not end.
func (p *process) pending() string {
	answer := make(chan []string, 1)
	go func() { answer <- p.registry.Pending() }()
	select {
	case lines := <-answer:
		if p.busy != nil && len(lines) == 0 {
			if names := p.busy(); len(names) > 0 {
				return "orders of clients did not end, for these exports: " + strings.Join(names, ", ")
			}
		}
		if len(lines) == 0 {
			return "no request is in flight, but a flush or a session does not end"
		}
		return "these requests did not end: " + strings.Join(lines, ", ")
	case <-time.After(time.Second):
		return "a worker does not answer"
	}
}

// report turns the reason for the end into what Execute prints, and writes it to the log where the log is for machines.
func (p *process) report(err error) error {
	if err == nil {
		return nil
	}
	if p.o.Log.format.String() != formatJSON {
		return err
	}
	p.log.Error(oneLine(err))
	said := &exitError{error: err, status: ExitFailure, said: true}
	var e *exitError
	if errors.As(err, &e) {
		said.status = e.status
	}
	return said
}
