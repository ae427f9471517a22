package systemd

import (
	"fmt"
	"strings"
	"time"
)

// pilot is a front-end at work in the machine, on a disk of its own.
type pilot struct {
	m    *machine
	name string
}

// progress is what a pilot has done since it was asked before.
type progress struct {
	requests, flushes int
	longest           time.Duration // without a completion
}

// launch starts a pilot on a socket and returns when it works.
func (m *machine) launch(name, socket string) *pilot {
	m.t.Helper()
	must(m.t, m.g.Background(name, "exec /tools/pilot "+socket))
	p := &pilot{m, name}
	m.await("the pilot's beginning", fmt.Sprintf("grep -q ^pid /tmp/%s.out", name))
	p.works()
	return p
}

// signal is a command that sends the pilot a signal.
func (p *pilot) signal(name string) string {
	return fmt.Sprintf("kill -%s $(sed -n 's/^pid //p' /tmp/%s.out)", name, p.name)
}

// on is the pilot as a test that is a part sees it.
func (p *pilot) on(m *machine) *pilot { return &pilot{m, p.name} }

// ask returns what it has done.
func (p *pilot) ask() (got progress) {
	p.m.t.Helper()
	out := p.m.run(fmt.Sprintf(`o=/tmp/%s.out; before=$(grep -c . $o); %s || { cat $o; exit 1; }
		n=0; until [ $(grep -c . $o) -gt $before ]; do n=$((n + 1)); [ $n -lt 3000 ] || { cat $o; exit 1; }; usleep 10000; done; tail -n 1 $o`,
		p.name, p.signal("USR1")))
	var longest string
	if _, err := fmt.Sscanf(out, "requests=%d flushes=%d longest=%s", &got.requests, &got.flushes, &longest); err != nil {
		p.m.t.Fatalf("the pilot says %q\n%s", out, p.m.journal())
	}
	d, err := time.ParseDuration(longest)
	must(p.m.t, err)
	got.longest = d
	return got
}

// works waits until requests have been served that were made from now on, and returns what was done meanwhile.
func (p *pilot) works() (sum progress) {
	p.m.t.Helper()
	// What was in flight may complete first; so many are newer.
	const enough = 200
	for deadline := time.Now().Add(patience); sum.requests < enough || sum.flushes == 0; {
		got := p.ask()
		sum.requests, sum.flushes = sum.requests+got.requests, sum.flushes+got.flushes
		sum.longest = max(sum.longest, got.longest)
		if time.Now().After(deadline) {
			p.m.t.Fatalf("the pilot's requests do not end: %+v\n%s", sum, p.m.journal())
		}
	}
	return sum
}

// through does something to the back-end and waits until the pilot works again: it has noticed nothing but a pause.
func (p *pilot) through(what, script string) {
	p.m.t.Helper()
	p.ask()
	p.m.run(script)
	before := p.ask()
	got := p.works()
	got.longest = max(got.longest, before.longest)
	p.m.t.Logf("%s: longest time without a completion %v (under TCG), %d requests, %d flushes, no error", what, got.longest.Round(time.Millisecond), got.requests, got.flushes)
}

// land has the pilot read its whole disk and end.
func (p *pilot) land() {
	p.m.t.Helper()
	p.m.run(p.signal("TERM"))
	r, err := p.m.g.Finished(p.name, patience)
	must(p.m.t, err)
	if r.Status != 0 || !strings.Contains(r.Output, "verified") {
		p.m.t.Fatalf("the pilot ends with status %d: %s\n%s", r.Status, r.Output, p.m.journal())
	}
}

// falls waits for the end of a pilot whose connection is closed.
func (p *pilot) falls() {
	p.m.t.Helper()
	r, err := p.m.g.Finished(p.name, patience)
	must(p.m.t, err)
	if r.Status != 1 || !strings.Contains(r.Output, "the connection has ended") {
		p.m.t.Fatalf("the pilot ends with status %d, and not because its connection does: %s\n%s", r.Status, r.Output, p.m.journal())
	}
}
