package cli

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/pkg/errors"
	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/export"
	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/internal/supervise"
)

// SuperviseOptions are the flags of a command that can supervise itself.
type SuperviseOptions struct {
	on    bool
	limit int
}

// defaultRestartLimit is above what a bad day brings, and below what a loop does.
const defaultRestartLimit = 20

// AddSuperviseOptions adds the flags.
func AddSuperviseOptions(flags *pflag.FlagSet) *SuperviseOptions {
	o := &SuperviseOptions{}
	flags.BoolVar(&o.on, "supervise", false, "do the work in a child process and start another one when it dies; SIGUSR2 upgrades it")
	flags.IntVar(&o.limit, "restart-limit", defaultRestartLimit, "with --supervise: deaths within a minute after which to give up, 0: never")
	Group(flags, "Process", "supervise", "restart-limit")
	return o
}

// Wanted tells whether this process is to be a supervisor: it was asked to, and is not the child of one.
func (o *SuperviseOptions) Wanted() bool { return o.on && os.Getenv(resume.SupervisorVariable) == "" }

// Supervise runs this program with the same arguments as a child, which inherits files from descriptor 3 on, and returns when
// that has ended in order.
func Supervise(o *SuperviseOptions, po ProcessOptions, files []*os.File) error {
	if o.limit < 0 {
		return Usagef("--restart-limit=%d: take 0 for no limit, or how many deaths within a minute are too many", o.limit)
	}
	path, err := programPath()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE)
	log, closeLog := po.Log.open(po.Stderr)
	defer closeLog()
	systemd, err := resume.Connect()
	if err != nil {
		log.Warn("systemd is not told how this goes", "error", err)
	}
	defer func() { _ = systemd.Close() }()
	s := supervise.New(supervise.Options{
		Path: path, Args: os.Args[1:], Inherited: files, Limit: o.limit, Log: log,
		Tell: func(fields ...string) { _ = systemd.Notify(fields...) }, // no harm if nobody listens any more
	})
	status, err := s.Run(signals)
	switch {
	case err != nil:
		return err
	case status != ExitOK: // the child has said why
		return &exitError{error: errors.Errorf("the worker ended with status %d", status), status: max(status, ExitFailure), said: true}
	}
	return nil
}

// programPath is the file that this program was started from, by the name that an upgrade will replace.
func programPath() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		path, err = os.Executable()
	}
	return path, errors.Wrap(err, "find this program's file")
}

// Inherited are the descriptors that definitions name by their numbers.
func Inherited(definitions []export.Definition) []*os.File {
	var files []*os.File
	for _, d := range definitions {
		const first = 3
		for n := d.Socket.FD; n >= first && len(files) <= n-first; {
			files = append(files, nil)
		}
		if d.Socket.FD >= first {
			files[d.Socket.FD-first] = os.NewFile(uintptr(d.Socket.FD), "inherited")
		}
	}
	return files
}
