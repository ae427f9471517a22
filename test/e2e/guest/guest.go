package guest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/errors"
)

// Limits of what a guest under TCG on a busy machine may take. They guard against hangs, and measure nothing.
const (
	bootTime = 5 * time.Minute
	exitTime = 5 * time.Minute
	shTime   = time.Minute // to start a shell in the background
)

// Guest is a running QEMU. See the package comment for who may call.
type Guest struct {
	QMP     *QMP
	agent   *agent
	console string
	stderr  string
	cmd     *exec.Cmd
	exited  chan struct{} // closed when cmd has been waited for; exitErr is valid then
	exitErr error
}

// Start starts QEMU and returns when its monitor answers; WaitReady waits for the guest's agent.
func Start(o Options) (g *Guest, err error) {
	g = &Guest{
		console: filepath.Join(o.Dir, "console.log"),
		stderr:  filepath.Join(o.Dir, "qemu.log"),
		exited:  make(chan struct{}),
	}
	// We listen and QEMU connects: then there is no moment at which the guest could talk to nobody.
	monitor, err := listen(filepath.Join(o.Dir, "qmp.sock"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = monitor.Close() }()
	channel, err := listen(filepath.Join(o.Dir, agentSocket))
	if err != nil {
		return nil, err
	}
	defer func() { _ = channel.Close() }()

	if err := g.spawn(slices.Concat(o.command(), o.args(g.console))); err != nil {
		return nil, err
	}
	begun := g // a return of nil would have nothing closed
	defer func() {
		if err != nil {
			begun.Close()
		}
	}()
	agentConn, err := g.accept(channel)
	if err != nil {
		return nil, err
	}
	g.agent = newAgent(agentConn)
	monitorConn, err := g.accept(monitor)
	if err != nil {
		return nil, err
	}
	g.QMP = newQMP(monitorConn)
	return g, g.QMP.greet()
}

func (g *Guest) spawn(argv []string) error {
	log, err := os.Create(g.stderr)
	if err != nil {
		return errors.Wrap(err, "QEMU's log")
	}
	defer func() { _ = log.Close() }()
	g.cmd = exec.Command(argv[0], argv[1:]...)
	g.cmd.Stdout, g.cmd.Stderr = log, log
	// A test binary that dies by its time limit must not leave guests behind.
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := g.cmd.Start(); err != nil {
		return errors.Wrap(err, "QEMU: run .ci/setup")
	}
	go func() {
		g.exitErr = g.cmd.Wait()
		close(g.exited)
	}()
	return nil
}

// WaitReady waits until the guest's agent reports, after Start or a reset, and returns the boot's id.
func (g *Guest) WaitReady() (bootID string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), bootTime)
	defer cancel()
	m, err := g.receive(ctx, func(m agentMessage) bool { return m.kind == messageReady })
	return m.id, errors.Wrapf(err, "waiting for the guest's agent%s", g.whereabouts(err))
}

// whereabouts tells what the CPUs of a guest do that does not answer: what they execute, and whether they hear interrupts
// ("RFL" with 200) or wait for one ("HLT=1"). The same place in all rounds is a loop of the emulator's or the guest's making.
func (g *Guest) whereabouts(err error) string {
	if !errors.Is(err, context.DeadlineExceeded) || g.QMP == nil {
		return ""
	}
	var b strings.Builder
	for range 4 {
		registers, err := g.QMP.Human("info registers -a")
		if err != nil {
			return " (" + err.Error() + ")"
		}
		for line := range strings.Lines(registers) {
			if strings.HasPrefix(line, "RIP=") || strings.HasPrefix(line, "EIP=") {
				b.WriteString("\n" + strings.TrimSpace(line))
			}
		}
	}
	return ", whose CPUs are at" + b.String() + "\n"
}

// Result is what a script in the guest left behind.
type Result struct {
	Output string // standard output and error
	Status int
}

// Run runs a shell script in the guest and waits for its end.
func (g *Guest) Run(script string, limit time.Duration) (Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	id, err := g.agent.send(script)
	if err != nil {
		return Result{}, errors.Wrap(err, "sending to the guest's agent")
	}
	m, err := g.receive(ctx, func(m agentMessage) bool { return m.kind == messageDone && m.id == id })
	if err != nil {
		return Result{}, errors.Wrapf(err, "guest runs %q", script)
	}
	return Result{Output: m.output, Status: m.status}, nil
}

// Send starts a shell script in the guest without waiting: for what the guest does not survive.
func (g *Guest) Send(script string) error {
	_, err := g.agent.send(script)
	return errors.Wrap(err, "sending to the guest's agent")
}

// Background starts a shell script in the guest that runs beside later ones.
func (g *Guest) Background(name, script string) error {
	r, err := g.Run(fmt.Sprintf("( ( %s\n) >/tmp/%s.out 2>&1; echo $? >/tmp/%s.tmp; mv /tmp/%s.tmp /tmp/%s.status ) >/dev/null 2>&1 &",
		script, name, name, name, name), shTime)
	if err == nil && r.Status != 0 {
		err = errors.Errorf("starting %s: status %d: %s", name, r.Status, r.Output)
	}
	return err
}

// Finished waits for a Background script.
func (g *Guest) Finished(name string, limit time.Duration) (Result, error) {
	tenths := int(limit / (100 * time.Millisecond))
	r, err := g.Run(fmt.Sprintf("n=0; while [ ! -f /tmp/%s.status ]; do n=$((n+1)); [ $n -lt %d ] || { echo not finished; cat /tmp/%s.out; exit 125; }; usleep 100000; done\n"+
		"cat /tmp/%s.out; s=$(cat /tmp/%s.status); rm /tmp/%s.status; exit $s", name, tenths, name, name, name, name), 2*limit+10*time.Second)
	return r, errors.Wrapf(err, "background script %s", name)
}

// PowerOff shuts the guest down from inside and waits for QEMU's end, which must be a success.
func (g *Guest) PowerOff() error {
	if err := g.Send("sync; umount -a -r 2>/dev/null; poweroff -f"); err != nil {
		return err
	}
	return g.Wait()
}

// Quit ends QEMU through its monitor, without telling the guest.
func (g *Guest) Quit() error {
	// The answer may or may not arrive before QEMU is gone; its exit status is what counts.
	_ = g.QMP.Execute("quit", nil, nil)
	return g.Wait()
}

// Wait waits for QEMU to end by itself.
func (g *Guest) Wait() error {
	select {
	case <-g.exited:
		return errors.Wrapf(g.exitErr, "QEMU: %s", g.Log())
	case <-time.After(exitTime):
		return errors.New("QEMU does not end")
	}
}

// Kill ends QEMU by SIGKILL.
func (g *Guest) Kill() error {
	if err := g.cmd.Process.Kill(); err != nil {
		return errors.Wrap(err, "killing QEMU")
	}
	<-g.exited
	return nil
}

// Running says whether QEMU still runs.
func (g *Guest) Running() bool {
	select {
	case <-g.exited:
		return false
	default:
		return true
	}
}

// PID is QEMU's process id.
func (g *Guest) PID() int { return g.cmd.Process.Pid }

// Close ends everything, by force where needed. It may be called again.
func (g *Guest) Close() {
	if g.cmd != nil {
		if g.Running() {
			_ = g.Kill()
		}
		<-g.exited
	}
	if g.agent != nil {
		g.agent.close()
	}
	if g.QMP != nil {
		g.QMP.close()
	}
}

// Console returns what the guest wrote to its serial port.
func (g *Guest) Console() string { return readLog(g.console) }

// Log returns what QEMU itself said.
func (g *Guest) Log() string { return readLog(g.stderr) }

func readLog(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.ToValidUTF8(strings.ReplaceAll(string(data), "\r", ""), "?")
}
