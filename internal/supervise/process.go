package supervise

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/internal/sys"
)

// process is one worker.
type process struct {
	cmd     *exec.Cmd
	sock    *sys.FD // our end of the pair that it speaks to us through
	program *os.File
	begun   time.Time

	standby chan struct{} // closed when it waits to be handed what is kept
	said    chan map[string]string
	ended   chan struct{} // closed when it has died and everything it said was heard
	state   *os.ProcessState

	mu    sync.Mutex
	deaf  bool        // it has not begun to listen to signals, any of which would kill it
	early []os.Signal // that it gets when it does
	stop  bool        // it was told to end
}

// firstExtra is the number that the first of exec.Cmd's ExtraFiles gets.
const firstExtra = 3

// spawn starts program. What it says goes to the store, and what is news also to said.
func (s *Supervisor) spawn(program *os.File) (*process, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Wrap(err, "make a socket pair")
	}
	theirs := os.NewFile(uintptr(pair[1]), "supervisor")
	defer func() { _ = theirs.Close() }()
	p := &process{
		sock: sys.NewFD(pair[0]), program: program, begun: time.Now(),
		standby: make(chan struct{}), said: make(chan map[string]string, 64), ended: make(chan struct{}), deaf: true,
	}
	extra := append(append([]*os.File{}, s.o.Inherited...), theirs)
	// Beyond those: the child gives them their numbers before it runs the program, whose descriptor must not be one of them.
	number, err := unix.FcntlInt(program.Fd(), unix.F_DUPFD_CLOEXEC, firstExtra+len(extra))
	if err != nil {
		_ = unix.Close(pair[0])
		return nil, errors.Wrap(err, "duplicate the program's descriptor")
	}
	defer func() { _ = unix.Close(number) }()
	p.cmd = &exec.Cmd{
		// The program that was opened, whatever has its name by now.
		Path: fmt.Sprintf("/proc/self/fd/%d", number), Args: append([]string{s.o.Path}, s.o.Args...),
		Env:        append(os.Environ(), resume.SupervisorVariable+"="+strconv.Itoa(firstExtra+len(extra)-1)),
		ExtraFiles: extra, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		// A terminal's signals come to us, and we pass them on.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if err := p.cmd.Start(); err != nil {
		_ = p.sock.Close()
		return nil, errors.Wrapf(err, "start %s", s.o.Path)
	}
	go p.listen(&s.store)
	return p, nil
}

// listen hears the worker until it has died.
func (p *process) listen(st *store) {
	waiting := p.standby
	for {
		m, err := resume.Receive(p.sock.Int())
		if err != nil || len(m.Fields) == 0 {
			// A worker that lives must not go on in the belief that it is heard.
			_ = unix.Shutdown(p.sock.Int(), unix.SHUT_RDWR)
			p.hears() // it would never say so
			break
		}
		st.apply(&m)
		m.Close()
		if m.Fields[resume.FieldStandby] != "" && waiting != nil {
			p.hears()
			close(waiting)
			waiting = nil
		}
		if m.Fields[resume.FieldReady] != "" || m.Fields[resume.FieldServed] != "" {
			select {
			case p.said <- m.Fields:
			default: // nobody has listened to 64 of them
			}
		}
	}
	_ = p.cmd.Wait() // its error is in the state
	p.state = p.cmd.ProcessState
	close(p.ended)
}

// bury lets go of a process that has ended. Only the main loop may: it may be about to send something, and what has the
// socket's number next must not get it.
func (p *process) bury() {
	<-p.ended
	_ = p.sock.Close()
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// signal passes a signal on, as soon as the process listens; one that has died does not need it any more.
func (p *process) signal(sig os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deaf && sig != syscall.SIGKILL {
		p.early = append(p.early, sig)
		return
	}
	p.send(sig)
}

// hears notes that the process listens to signals.
func (p *process) hears() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = false
	for _, sig := range p.early {
		p.send(sig)
	}
	p.early = nil
}

func (p *process) send(sig os.Signal) {
	p.stop = p.stop || stops(sig)
	_ = p.cmd.Process.Signal(sig)
}

// told tells whether the process was told to end.
func (p *process) told() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stop
}

// died says how a process has ended.
func (p *process) died() string {
	if w, ok := p.state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return "killed by " + unix.SignalName(w.Signal())
	}
	return fmt.Sprintf("exit status %d", p.state.ExitCode())
}
