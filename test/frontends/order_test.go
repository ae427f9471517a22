package frontends

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/test/e2e/guest"
	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// configSize is how much of the configuration space cloud-hypervisor and Firecracker read.
const configSize = 60

// The virtio features of these two that matter here.
const (
	featureFlush    = virtio.Features(1 << 9)
	featureProtocol = virtio.Features(1 << 30) // VHOST_USER_F_PROTOCOL_FEATURES
)

// player says what a front-end that we cannot run here says, in its order, to the real program.
type player struct {
	t        *testing.T
	conn     *vhostusertest.Conn
	needAck  bool // REPLY_ACK: these ask with every message, also with those that have a reply
	memory   *virtiotest.Memory
	driver   *virtiotest.Driver
	inflight vhostusertest.Message // the reply to GET_INFLIGHT_FD, with its descriptor
	head     virtiotest.Area
	data     virtiotest.Area
	status   virtiotest.Area
}

// newPlayer makes a guest with one queue.
func newPlayer(t *testing.T, size uint32) *player {
	t.Helper()
	p := &player{t: t}
	var err error
	p.memory, err = virtiotest.NewMemory(virtiotest.RAM(64 << 20))
	must(t, err)
	p.driver, err = virtiotest.NewDriver(p.memory, virtiotest.Options{Size: size, Features: virtio.FeatureVersion1})
	must(t, err)
	for _, a := range []struct {
		area *virtiotest.Area
		size uint64
	}{{&p.head, 16}, {&p.data, 4096}, {&p.status, 1}} {
		gpa, err := p.memory.Alloc(a.size, a.size)
		must(t, err)
		*a.area = virtiotest.Area{GPA: gpa, Len: uint32(a.size)}
	}
	t.Cleanup(func() {
		p.hangUp()
		must(t, p.driver.Close())
		must(t, p.memory.Close())
		for _, fd := range p.inflight.FDs {
			must(t, unix.Close(fd))
		}
	})
	return p
}

func (p *player) hangUp() {
	if p.conn != nil {
		_ = p.conn.Close()
	}
}

func (p *player) send(r vhostuser.Request, payload []byte, fds ...int) {
	p.t.Helper()
	flags := vhostusertest.FlagVersion
	if p.needAck {
		flags |= vhostusertest.FlagNeedReply
	}
	must(p.t, p.conn.Send(vhostusertest.Message{Request: r, Flags: flags, Payload: payload, FDs: fds}))
}

// set sends what has no reply of its own.
func (p *player) set(r vhostuser.Request, payload []byte, fds ...int) {
	p.t.Helper()
	p.send(r, payload, fds...)
	if !p.needAck {
		return
	}
	m, err := p.conn.Recv()
	must(p.t, err)
	if v, err := m.U64(); err != nil || v != 0 || m.Request != r {
		p.t.Fatalf("%v: answered by %v, %d, %v", r, m.Request, v, err)
	}
}

// get sends what has a reply, of which there must be one only: the next message is the next request's.
func (p *player) get(r vhostuser.Request, payload []byte) vhostusertest.Message {
	p.t.Helper()
	p.send(r, payload)
	m, err := p.conn.Recv()
	must(p.t, err)
	if m.Request != r || m.Flags != vhostusertest.FlagVersion|vhostusertest.FlagReply {
		p.t.Fatalf("%v: answered by %v with flags %#x", r, m.Request, m.Flags)
	}
	return m
}

func (p *player) number(r vhostuser.Request) uint64 {
	p.t.Helper()
	m := p.get(r, nil)
	n, err := m.U64()
	must(p.t, err)
	return n
}

// capacity reads the configuration space and returns what it begins with, in sectors.
func (p *player) capacity() uint64 {
	p.t.Helper()
	const writable = 1 // what rust-vmm's front-end sets as flags
	m := p.get(vhostuser.RequestGetConfig, vhostusertest.Config(0, configSize, writable, make([]byte, configSize)))
	equal(p.t, "size of the configuration space", len(m.Payload), 12+configSize)
	return binary.LittleEndian.Uint64(m.Payload[12:])
}

// greet connects and accepts of what is offered what the front-end knows.
func (p *player) greet(socket string, known virtio.Features, protocol vhostuser.ProtocolFeatures) (acked virtio.Features) {
	p.t.Helper()
	var err error
	p.conn, err = vhostusertest.Dial(socket)
	must(p.t, err)
	p.needAck = false
	p.set(vhostuser.RequestSetOwner, nil)
	acked = virtio.Features(p.number(vhostuser.RequestGetFeatures)) & (known | featureProtocol)
	offered := vhostuser.ProtocolFeatures(p.number(vhostuser.RequestGetProtocolFeatures))
	p.set(vhostuser.RequestSetProtocolFeatures, vhostusertest.U64(uint64(offered&protocol)))
	p.needAck = (offered & protocol).Has(vhostuser.ProtocolReplyAck)
	return acked
}

// begin sets the queue up, to go on at base.
func (p *player) begin(base uint32) {
	p.t.Helper()
	desc, driver, device := p.driver.Addresses()
	p.set(vhostuser.RequestSetVringAddr, vhostusertest.VringAddr(0, desc, driver, device))
	p.set(vhostuser.RequestSetVringBase, vhostusertest.VringState(0, base))
	p.set(vhostuser.RequestSetVringCall, vhostusertest.U64(0), p.driver.CallFD())
	p.set(vhostuser.RequestSetVringKick, vhostusertest.U64(0), p.driver.KickFD())
	p.set(vhostuser.RequestSetVringEnable, vhostusertest.VringState(0, 1))
}

func (p *player) share(acked virtio.Features) {
	p.t.Helper()
	p.set(vhostuser.RequestSetFeatures, vhostusertest.U64(uint64(acked)))
	p.set(vhostuser.RequestSetMemTable, vhostusertest.MemTable(p.memory.Regions()...), p.memory.FD(0))
	p.set(vhostuser.RequestSetVringNum, vhostusertest.VringState(0, uint32(p.driver.Size())))
}

// submit makes a request of 8 sectors available: kind 0 reads, 1 writes.
func (p *player) submit(kind uint32, sector uint64) {
	p.t.Helper()
	head := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(kind)), sector)
	p.memory.Write(p.head.GPA, head)
	p.memory.Write(p.status.GPA, []byte{0xff})
	r := virtiotest.Request{Readable: []virtiotest.Area{p.head}, Writable: []virtiotest.Area{p.data, p.status}}
	if kind == 1 {
		r = virtiotest.Request{Readable: []virtiotest.Area{p.head, p.data}, Writable: []virtiotest.Area{p.status}}
	}
	_, err := p.driver.Add(r)
	must(p.t, err)
	_, err = p.driver.Publish()
	must(p.t, err)
}

// finish waits for the request, which must have succeeded.
func (p *player) finish() {
	p.t.Helper()
	for deadline := time.Now().Add(vhostusertest.Timeout); ; {
		_, done, err := p.driver.Reap()
		must(p.t, err)
		if done {
			break
		}
		if p.driver.EnableCalls() {
			continue
		}
		called, err := p.driver.WaitCall(time.Until(deadline))
		must(p.t, err)
		if !called {
			p.t.Fatal("the request does not end")
		}
	}
	var status [1]byte
	p.memory.Read(p.status.GPA, status[:])
	equal(p.t, "status", status[0], 0)
}

// use writes and reads back.
func (p *player) use(sector uint64, fill byte) {
	p.t.Helper()
	want, got := bytes.Repeat([]byte{fill}, 4096), make([]byte, 4096)
	p.memory.Write(p.data.GPA, want)
	p.submit(1, sector)
	p.finish()
	p.memory.Write(p.data.GPA, got)
	p.submit(0, sector)
	p.finish()
	p.memory.Read(p.data.GPA, got)
	if !bytes.Equal(got, want) {
		p.t.Errorf("sector %d reads %x…, want %x…", sector, got[:8], want[:8])
	}
}

// program starts vublk on an image of 1 MiB, which it makes when there is none.
func program(t *testing.T, dir string) *guest.Backend {
	t.Helper()
	file, socket := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "sock")
	if _, err := os.Lstat(file); err != nil {
		must(t, os.WriteFile(file, make([]byte, 1<<20), 0o600))
	}
	b, err := guest.StartBackend(filepath.Join(dir, "log"), []string{socket}, lab.vublk, "serve",
		"--socket-path="+socket, "--blk-file="+file, "--direct=off")
	must(t, err)
	t.Cleanup(func() {
		b.Kill()
		if t.Failed() {
			t.Log(b.Log())
		}
	})
	return b
}

// TestFirecracker: SET_OWNER first, of the protocol features CONFIG alone, so nothing is ever acknowledged; a queue of 256;
// NUM before ADDR before BASE before CALL before KICK before ENABLE; and GET_CONFIG again after a PATCH.
func TestFirecracker(t *testing.T) {
	dir := newDir(t)
	b := program(t, dir)
	p := newPlayer(t, 256)
	acked := p.greet(filepath.Join(dir, "sock"), virtio.FeatureVersion1|featureFlush, vhostuser.ProtocolConfig)
	equal(t, "FLUSH, for Writeback", acked&featureFlush, featureFlush)
	equal(t, "sectors", p.capacity(), 2048)
	p.share(acked)
	p.begin(0)
	p.use(8, 0xa1)
	must(t, os.Truncate(filepath.Join(dir, "disk.raw"), 2<<20))
	must(t, syscall.Kill(b.PID(), syscall.SIGHUP))
	for deadline := time.Now().Add(vhostusertest.Timeout); p.capacity() != 4096; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the disk does not grow")
		}
	}
	p.use(4088, 0xa2)
	p.hangUp()
	must(t, b.Stop())
}

// TestCloudHypervisor: an acknowledgement wanted for each message, a record of requests in flight; and after vublk's death
// everything again, with the *available* index as the queue's base, though a request from before it is not done.
func TestCloudHypervisor(t *testing.T) {
	dir := newDir(t)
	socket := filepath.Join(dir, "sock")
	b := program(t, dir)
	p := newPlayer(t, 128)
	const protocol = vhostuser.ProtocolConfig | vhostuser.ProtocolMQ | vhostuser.ProtocolConfigureMemSlots |
		vhostuser.ProtocolReplyAck | vhostuser.ProtocolInflightShmfd | vhostuser.ProtocolLogShmfd
	known := virtio.FeatureVersion1 | featureFlush
	acked := p.greet(socket, known, protocol)
	if n := p.number(vhostuser.RequestGetQueueNum); n < 2 {
		t.Errorf("%d queues", n)
	}
	equal(t, "sectors", p.capacity(), 2048)
	p.share(acked)
	p.inflight = p.get(vhostuser.RequestGetInflightFD, vhostusertest.Inflight(0, 0, 1, 128))
	equal(t, "descriptors of the record", len(p.inflight.FDs), 1)
	p.set(vhostuser.RequestSetInflightFD, p.inflight.Payload, p.inflight.FDs[0])
	p.begin(0)
	p.use(16, 0xb1)

	must(t, syscall.Kill(b.PID(), syscall.SIGSTOP))
	p.memory.Write(p.data.GPA, bytes.Repeat([]byte{0xb2}, 4096))
	p.submit(1, 24)
	b.Kill()
	p.hangUp()
	b = program(t, dir)
	equal(t, "features after the reconnect", p.greet(socket, known, protocol), acked)
	p.share(acked)
	p.set(vhostuser.RequestSetInflightFD, p.inflight.Payload, p.inflight.FDs[0])
	p.begin(3) // two requests are done, the third is not
	p.finish()
	p.use(32, 0xb3)
	p.hangUp()
	must(t, b.Stop())
	image, err := os.ReadFile(filepath.Join(dir, "disk.raw"))
	must(t, err)
	for sector, fill := range map[int]byte{16: 0xb1, 24: 0xb2, 32: 0xb3} {
		equal(t, "byte of the image", image[512*sector+4095], fill)
	}
}
