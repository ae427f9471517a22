package systemd

import (
	"fmt"
	"strconv"
)

// configure makes an image for an instance of vublk@.service, and says that it is its disk.
func (m *machine) configure(name string) (socket string) {
	m.t.Helper()
	m.run(fmt.Sprintf("truncate -s 4M /var/lib/images/%s.raw && echo 'VUBLK_OPTIONS=\"--blk-file=/var/lib/images/%[1]s.raw --lock-timeout=1m\"' >/etc/vublk/%[1]s.conf", name))
	return "/run/vublk/" + name + ".sock"
}

// instance: `vublk serve` as a service of its own.
func (m *machine) instance() {
	socket := m.configure("one")
	m.run("systemctl start vublk@one.service")
	p := m.launch("one", socket)
	p.through("systemctl restart vublk@one", "systemctl restart vublk@one.service")
	p.through("systemctl kill -s KILL vublk@one", "systemctl kill -s KILL vublk@one.service")
	p.land()
	m.run("systemctl stop vublk@one.service")
}

// ready: the service has not begun before its disk can be had.
func (m *machine) ready() {
	socket := m.configure("two")
	must(m.t, m.g.Background("holder", "exec sh -c 'echo $$ >/tmp/holder.pid; exec vublk serve --socket-path=/tmp/holder.sock --blk-file=/var/lib/images/two.raw'"))
	m.await("another process", "[ -S /tmp/holder.sock ]")
	m.run("systemctl start --no-block vublk@two.service")
	m.await("the wait for the lock", "journalctl -q --no-pager -u vublk@two.service | grep -i lock")
	if state := m.property("vublk@two.service", "ActiveState"); state != "activating" {
		m.t.Errorf("the service is %s while another process has its image", state)
	}
	m.run("kill $(cat /tmp/holder.pid)")
	if r, err := m.g.Finished("holder", patience); err != nil || r.Status != 0 {
		m.t.Fatalf("the other process: %v, status %d: %s", err, r.Status, r.Output)
	}
	m.await("the service", "[ $(systemctl show --value -p ActiveState vublk@two.service) = active ]")
	m.launch("two", socket).land()
	m.run("systemctl stop vublk@two.service")
}

// storeFull: systemd says that it cannot keep more. The session that it has no room for is served, and ends with the process;
// the service goes on.
func (m *machine) storeFull() {
	socket := m.configure("small")
	m.dropIn("vublk@small.service", "FileDescriptorStoreMax=5")
	m.run("systemctl start vublk@small.service")
	p := m.launch("small", socket)
	p.works()
	m.t.Log(m.run("journalctl -q --no-pager -u vublk@small.service | grep 'Cannot store more fds' | tail -n 1"))
	m.run("systemctl kill -s KILL vublk@small.service")
	p.falls()
	m.await("the service", "[ $(systemctl show --value -p ActiveState vublk@small.service) = active ]")
	m.launch("small-again", socket).land()
	m.t.Log(m.run("journalctl -q --no-pager -o cat -u vublk@small.service | grep -i session"))
	m.run("systemctl stop vublk@small.service")
}

// nameLength is that of the longest name that an export gives a descriptor, with the colon behind it: vublk-, 16 digits of a hash,
// -fd-, 12 characters of a session, - and up to 5 digits (internal/export/keeper.go).
const nameLength = 6 + 16 + 4 + 12 + 1 + 5 + 1

// storeLimit: all descriptors that the units allow systemd to keep reach the next process. Their names do in one variable, of
// which the kernel takes 128 KiB (MAX_ARG_STRLEN), and the soft limit of descriptors, 1024 by default, holds for systemd's own
// work before it starts the process, too. So many names take systemd a minute here, which compares each descriptor with all
// others: there are fewer and longer ones, and as many bytes.
func (m *machine) storeLimit() {
	most := m.property("vublk.service", "FileDescriptorStoreMax")
	if other := m.property("vublk@one.service", "FileDescriptorStoreMax"); other != most {
		m.t.Errorf("vublk.service may keep %s descriptors, vublk@.service %s", most, other)
	}
	n, err := strconv.Atoi(most)
	must(m.t, err)
	const fewer = "1100"
	length := strconv.Itoa((n*nameLength+1099)/1100 - 1)
	m.run("systemd-run -q --no-block --unit=fill -p Type=notify -p Restart=always -p LimitNOFILE=" + m.property("vublk.service", "LimitNOFILE") +
		" -p FileDescriptorStoreMax=" + most + " /tools/pilot fill " + fewer + " " + length)
	m.await("the store", "[ $(systemctl show --value -p ActiveState fill) = active ]")
	if got := m.property("fill", "NFileDescriptorStore"); got != fewer {
		m.t.Fatalf("systemd keeps %s descriptors, want %s\n%s", got, fewer, m.journal())
	}
	m.run("systemctl kill -s KILL fill")
	m.await("the next process", "journalctl -q --no-pager -o cat -u fill | grep -x 'given "+fewer+"'")
	m.run("systemctl stop fill")
}
