package crash

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/pkg/errors"
)

// What the supervisor says of upgrades that come to nothing.
var (
	cannotStart = regexp.MustCompile(`msg="upgrade: the program cannot be started; the old one goes on"`)
	startsNot   = regexp.MustCompile(`msg="upgrade: the new program does not start; the old one goes on"`)
	diesAtOnce  = regexp.MustCompile(`msg="upgrade: the new program died before it was ready; the old one takes its place again"`)
	atOnce      = regexp.MustCompile(`msg="the worker has died, starting another" .*pause=0s`)
	resumed     = regexp.MustCompile(`msg="session resumed"`)
)

// TestUpgradeRefused has the supervisor upgrade to what does not work: the old program goes on, and so does its guest.
func TestUpgradeRefused(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	must(t, os.WriteFile(text, []byte("This is no program.\n"), 0o700))
	const process = "internal/cli/process.go"
	const standby, handedOut = `p.tell(resume.FieldStandby + "=1")`, `kept, err := p.holder.Inherited()`
	for _, c := range []struct {
		name    string
		program string
		says    *regexp.Regexp
		resumes int // how often a session is resumed over it
	}{
		{"nothing", filepath.Join(dir, "nothing"), cannotStart, 0},
		{"a text", text, cannotStart, 0},
		{"ends with status 0", "/bin/true", startsNot, 0},
		{"ends with status 1", "/bin/false", startsNot, 0},
		{"never waits for its turn", patched(t, process, standby, "select {}"), startsNot, 0},
		{"fails when it is handed over to", patched(t, process, handedOut, handedOut+"; os.Exit(3)"), diesAtOnce, 1},
		{"ends with status 0 when it is handed over to", patched(t, process, handedOut, handedOut+"; os.Exit(0)"), diesAtOnce, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			must(t, busy(t, upgrading(lab.vublk), func(l *life, b *upgraded) error {
				before := b.worker
				if err := b.demand(c.program); err != nil {
					return err
				}
				if _, err := b.process.AwaitLog(c.says, 1); err != nil {
					return err
				}
				if c.resumes > 0 {
					before = 0
					if _, err := b.process.AwaitLog(resumed, c.resumes); err != nil {
						return err
					}
					if !atOnce.MatchString(b.log()) {
						return errors.New("there is a pause before the program that works comes back")
					}
				}
				if err := l.goesOn(b, lab.vublk, before); err != nil {
					return err
				}
				b.turn += len(handedOver.FindAllString(b.log(), -1))
				return b.upgrade(lab.vublk)
			}))
		})
	}
}

// TestUpgradeTooNew goes to a program whose state this one does not understand, and back: that is refused, and the newer one
// goes on.
func TestUpgradeTooNew(t *testing.T) {
	newer := patched(t, "internal/export/keeper.go", "recordVersion = 1\n\trecordNeeds   = 1", "recordVersion = 1000\n\trecordNeeds   = 1000")
	must(t, busy(t, upgrading(lab.vublk), func(l *life, b *upgraded) error {
		if err := b.upgrade(newer); err != nil {
			return err
		}
		if err := l.goesOn(b, newer, 0); err != nil {
			return err
		}
		if err := b.demand(lab.vublk); err != nil {
			return err
		}
		for _, want := range []string{
			`its state is of a newer vublk than this one: start that one again`,
			`state version 1000`,
			diesAtOnce.String(),
		} {
			if _, err := b.process.AwaitLog(regexp.MustCompile(want), 1); err != nil {
				return err
			}
		}
		if _, err := b.process.AwaitLog(resumed, 2); err != nil {
			return err
		}
		return l.goesOn(b, newer, 0)
	}))
}

// busy has a guest live while something happens to its back-end, which is there all the time or comes back.
func busy[B backend](t *testing.T, m maker, happens func(*life, B) error) error {
	t.Helper()
	return idle(t, m, func(l *life, b B) error {
		if err := l.work(func() error { return happens(l, b) }); err != nil {
			return err
		}
		return l.verify()
	})
}

// goesOn waits until the guest's requests complete, and tells whether a program does that, and a process if one is named.
func (l *life) goesOn(b *upgraded, program string, worker int) (err error) {
	b.worker, err = b.process.Worker(0)
	if err != nil {
		return err
	}
	if worker != 0 && b.worker != worker {
		return errors.Errorf("worker %d has gone, now there is %d", worker, b.worker)
	}
	switch runs, err := b.runs(); {
	case err != nil:
		return err
	case runs != program:
		return errors.Errorf("the worker runs %s, want %s", runs, program)
	}
	return l.progress()
}

// progress waits for more completions than what may be in flight. A slow disk may take its time for them, but not stand still.
func (l *life) progress() error {
	const enough = 100
	begin, before := time.Now(), l.requests.Load()
	for seen, at := before, begin; seen < before+enough; time.Sleep(time.Millisecond) {
		if n := l.requests.Load(); n != seen {
			seen, at = n, time.Now()
		}
		switch {
		case l.broken.Load():
			return errors.New("the guest has found something wrong")
		case time.Since(at) > limit:
			return errors.New("the disk stands still")
		case time.Since(begin) > comeBackTime:
			return errors.Errorf("%d requests only in %v", seen-before, comeBackTime)
		}
	}
	return nil
}
