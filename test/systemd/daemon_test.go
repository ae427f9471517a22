package systemd

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestSystemd is one machine's life.
func TestSystemd(t *testing.T) {
	m := bootMachine(t)
	part := func(name string, f func(*machine)) {
		if !t.Run(name, func(t *testing.T) { f(m.on(t)) }) {
			t.FailNow() // the next one begins where this one ends
		}
	}
	part("Units", (*machine).units)
	part("Activation", (*machine).activation)
	part("Hardening", (*machine).hardening)
	m.run("vublk export create vm --socket-path=/run/vublk/vm.sock --blk-file=/var/lib/images/vm.raw --create-size=4MiB")
	p := m.launch("vm", "/run/vublk/vm.sock")
	part("Restart", func(m *machine) { m.restart(p.on(m)) })
	part("Kill", func(m *machine) { m.kill(p.on(m)) })
	part("Watchdog", func(m *machine) { m.watchdog(p.on(m)) })
	part("Reload", func(m *machine) { m.reload(p.on(m)) })
	part("Landing", func(m *machine) { p.on(m).land() })
	part("Stop", (*machine).stop)
	part("Instance", (*machine).instance)
	part("Ready", (*machine).ready)
	part("StoreFull", (*machine).storeFull)
	part("StoreLimit", (*machine).storeLimit)
}

// maxExposure is what systemd-analyze may say of a service: below 4 is OK.
const maxExposure = 3.0

// units: systemd finds nothing wrong with them.
func (m *machine) units() {
	out := m.run("systemd-analyze verify --man=no vublk.service vublk.socket vublk@.service 2>&1")
	if out != "" {
		m.t.Errorf("systemd-analyze verify: %s", out)
	}
	for _, unit := range []string{"vublk.service", "vublk@one.service"} {
		out := m.run("systemd-analyze security --no-pager " + unit + " | tail -n 1")
		m.t.Log(out)
		found := regexp.MustCompile(`: ([0-9.]+) `).FindStringSubmatch(out)
		if found == nil {
			m.t.Fatalf("systemd-analyze security %s: %s", unit, out)
		}
		if score, err := strconv.ParseFloat(found[1], 64); err != nil || score > maxExposure {
			m.t.Errorf("%s: exposure %s, want %v at most", unit, found[1], maxExposure)
		}
	}
}

// activation: the first client starts the daemon.
func (m *machine) activation() {
	m.run("systemctl start vublk.socket")
	if state := m.property("vublk.service", "ActiveState"); state != "inactive" {
		m.t.Fatalf("the daemon is %s before anybody has called", state)
	}
	m.run("vublk export list")
	if state := m.property("vublk.service", "ActiveState"); state != "active" {
		m.t.Errorf("the daemon is %s after a call", state)
	}
}

// hardened is what /proc/PID/status says of it: CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, and no way to more.
var hardened = []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t000000000000000b", "CapBnd:\t000000000000000b"}

// hardening: what the units take from the process is gone.
func (m *machine) hardening() {
	status := m.run("cat /proc/" + m.property("vublk.service", "MainPID") + "/status")
	for _, want := range hardened {
		if !strings.Contains(status, want) {
			m.t.Errorf("/proc/PID/status has no %q:\n%s", want, status)
		}
	}
	for _, path := range []string{"/etc/vm.sock", "/usr/vm.sock", "/tmp/vm.sock"} {
		r := m.try("vublk export create bad --socket-path=" + path + " --store=null:1MiB")
		if r.Status == 0 || !strings.Contains(r.Output, "read-only file system") {
			m.t.Errorf("an export at %s: status %d: %s", path, r.Status, r.Output)
		}
	}
}

// restart: a front-end that cannot reconnect sees a pause.
func (m *machine) restart(p *pilot) {
	for range 3 {
		before := m.property("vublk.service", "MainPID")
		p.through("systemctl restart vublk", "systemctl restart vublk.service")
		if pid := m.property("vublk.service", "MainPID"); pid == before {
			m.t.Errorf("process %s serves as before", pid)
		}
	}
	if n := m.property("vublk.service", "NFileDescriptorStore"); n == "0" {
		m.t.Error("systemd keeps no descriptor")
	}
}

// kill: so does one whose back-end is killed.
func (m *machine) kill(p *pilot) {
	for i := range 5 {
		p.through("systemctl kill -s KILL vublk", "systemctl kill -s KILL vublk.service")
		m.await("the restart", fmt.Sprintf("[ $(systemctl show --value -p NRestarts vublk.service) = %d ]", i+1))
		m.await("the daemon", "[ $(systemctl show --value -p ActiveState vublk.service) = active ]")
	}
	m.run("vublk export list | grep -w vm")
}

// watchdog: a process that hangs is killed, and its sessions go on.
func (m *machine) watchdog(p *pilot) {
	m.dropIn("vublk.service", "WatchdogSec=10s", "TimeoutAbortSec=1s")
	m.run("systemctl restart vublk.service")
	p.works()
	before := m.property("vublk.service", "MainPID")
	p.through("systemctl kill -s STOP vublk, WatchdogSec=10s, TimeoutAbortSec=1s", "systemctl kill -s STOP vublk.service")
	if pid := m.property("vublk.service", "MainPID"); pid == before {
		m.t.Errorf("process %s serves as before", pid)
	}
	m.run("journalctl -q --no-pager -u vublk.service | grep 'Watchdog timeout'")
}

// reload: SIGHUP has the daemon look at the sizes.
func (m *machine) reload(p *pilot) {
	m.run("truncate -s 6M /var/lib/images/vm.raw && systemctl reload vublk.service")
	m.await("the new size", "vublk export list | grep -w vm | grep -w 6MiB")
	p.works()
}

// stop lets front-ends go; the definitions stay.
func (m *machine) stop() {
	p := m.launch("stopped", "/run/vublk/vm.sock")
	m.run("systemctl stop vublk.service")
	p.falls()
	if n := m.property("vublk.service", "NFileDescriptorStore"); n != "0" {
		m.t.Errorf("systemd still keeps %s descriptors", n)
	}
	m.run("systemctl start vublk.service && vublk export list | grep -w vm")
	m.launch("again", "/run/vublk/vm.sock").land()
	m.run("systemctl stop vublk.service vublk.socket")
}

// dropIn changes a unit's service.
func (m *machine) dropIn(unit string, lines ...string) {
	m.t.Helper()
	dir := "/run/systemd/system/" + unit + ".d"
	m.run(fmt.Sprintf("mkdir -p %s && printf '%%s\\n' '[Service]' '%s' >%s/test.conf && systemctl daemon-reload", dir, strings.Join(lines, "' '"), dir))
}
