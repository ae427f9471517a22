package bench

import (
	"context"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// FleetConfig is a load that many exports of one process share. Fields that are zero mean what their comment says.
type FleetConfig struct {
	Sockets []string // of the exports
	Rate    float64  // requests a second in all; 10,000
	CPU     int      // that the driver runs on; negative: any
	// Config's Socket, Queues, Depth, Batch and CPUs are not used.
	Config
}

// Fleet connects to all exports and has one driver make a request every 1/Rate of a second, each to the next export and by a
// kick of its own, as many guests do of which each does little. A request that comes due while the export's last one is in
// flight waits for that; what the driver is late by is not caught up with.
func Fleet(ctx context.Context, c FleetConfig) (Result, error) {
	c.Queues, c.Depth, c.Batch = 1, 1, 1
	c.setDefaults()
	if c.Rate == 0 {
		c.Rate = 10_000
	}
	if err := c.check(); err != nil {
		return Result{}, err
	}
	if len(c.Sockets) == 0 || c.Rate < 0 {
		return Result{}, errors.Errorf("%d exports at %f requests a second: want one at least, and more than 0", len(c.Sockets), c.Rate)
	}
	undo, err := pin(c.CPU)
	if err != nil {
		return Result{}, err
	}
	f := &fleet{config: &c, ctx: ctx, pause: time.Duration(float64(time.Second) / c.Rate), latency: newHistogram()}
	r, err := f.sail()
	if e := f.close(err == nil); err == nil {
		err = e
	}
	if e := undo(); err == nil {
		err = e
	}
	return r, errors.Wrapf(err, "%d exports", len(c.Sockets))
}

// fleet is the driver. Only its goroutine touches it.
type fleet struct {
	config *FleetConfig
	ctx    context.Context // of the run
	ships  []*ship
	flying []*ship // have a request in flight, oldest first
	next   int
	pause  time.Duration
	due    time.Duration // when the next request is
	events *sys.FD       // epoll of the call descriptors

	latency *hdrhistogram.Histogram
	count   counters
	begin   time.Time
	now     time.Duration
	asked   time.Duration // when a connection was looked at
}

// ship is one export.
type ship struct {
	target *target
	slot   slot
	gen    generator
	busy   bool
}

// sail is the run: connect, warm up, measure, drain.
func (f *fleet) sail() (Result, error) {
	g, err := f.connect()
	if err != nil {
		return Result{}, err
	}
	f.begin = time.Now()
	if err := f.until(f.config.Warmup); err != nil {
		return Result{}, err
	}
	if err := g.ready(); err != nil {
		return Result{}, err
	}
	f.latency.Reset()
	f.count = counters{}
	from := f.tick()
	f.due = from
	if err := g.begin(); err != nil {
		return Result{}, err
	}
	if err := f.until(from + f.config.Duration); err != nil {
		return Result{}, err
	}
	for ; f.count.done == 0; f.tick() { // as in loop.run
		if err := f.turn(); err != nil {
			return Result{}, err
		}
	}
	if err := g.end(); err != nil {
		return Result{}, err
	}
	elapsed := f.tick() - from
	r := f.result(elapsed)
	for len(f.flying) > 0 {
		if err := f.reap(); err != nil {
			return Result{}, err
		}
	}
	if err := g.close(); err != nil {
		return Result{}, err
	}
	g.report(&r, elapsed)
	return r, nil
}

func (f *fleet) result(elapsed time.Duration) Result {
	n := f.count
	all := hdrhistogram.Import(f.latency.Export())
	r := Result{
		Requests: n.done, Bytes: (n.done - n.flushes) * uint64(f.config.BlockSize), Elapsed: elapsed, Kicks: n.kicks, Sleeps: n.sleeps,
		Latency: newLatency(all), Histogram: all,
	}
	r.IOPS, r.MBps = float64(n.done)/elapsed.Seconds(), float64(r.Bytes)/elapsed.Seconds()/1e6
	return r
}

// connect makes the front-ends, and the gauge of the process of the first.
func (f *fleet) connect() (*gauge, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, errors.Wrap(err, "make an epoll")
	}
	f.events = sys.NewFD(fd)
	for i, socket := range f.config.Sockets {
		c := f.config.Config
		c.Socket = socket
		t, err := connect(&c)
		if err != nil {
			return nil, errors.Wrapf(err, "front-end on %s", socket)
		}
		s := &ship{target: t}
		f.ships = append(f.ships, s)
		if err := f.equip(s, i); err != nil {
			return nil, err
		}
	}
	return newGauge(&f.config.Config, f.ships[0].target.front.Conn)
}

func (f *fleet) equip(s *ship, i int) (err error) {
	c, d := f.config, s.target.front.Queue(0)
	sectors := s.target.sectors
	if span := c.Span / SectorSize; c.Span > 0 && span < sectors {
		sectors = span
	}
	perBlock := uint64(c.BlockSize / SectorSize)
	if sectors < perBlock {
		return errors.Errorf("%d sectors are no room for blocks of %d bytes", sectors, c.BlockSize)
	}
	s.gen = newGenerator(c.Mix, c.Seed, i, 0, sectors/perBlock, perBlock)
	if s.slot, err = newSlot(d.Memory(), c.BlockSize, c.Indirect); err != nil {
		return err
	}
	d.DisableCalls()
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
	return errors.Wrap(unix.EpollCtl(f.events.Int(), unix.EPOLL_CTL_ADD, d.CallFD(), &event), "add to an epoll")
}

func (f *fleet) tick() time.Duration {
	f.now = time.Since(f.begin)
	return f.now
}

// until keeps the pace until the clock says so.
func (f *fleet) until(end time.Duration) error {
	for f.tick() < end {
		if err := f.turn(); err != nil {
			return err
		}
	}
	return nil
}

// turn makes the request that is due now, or takes what is done.
func (f *fleet) turn() error {
	s := f.ships[f.next]
	if f.now < f.due || s.busy {
		return f.reap()
	}
	if err := f.issue(s); err != nil {
		return err
	}
	f.next = (f.next + 1) % len(f.ships)
	f.due = max(f.due+f.pause, f.now)
	return nil
}

func (f *fleet) issue(s *ship) error {
	d := s.target.front.Queue(0)
	if _, err := d.Add(*s.slot.prepare(s.gen.draw())); err != nil {
		return err
	}
	if f.config.Wait == Sleeping {
		d.EnableCalls()
	}
	s.busy, s.slot.issued = true, f.tick()
	f.flying = append(f.flying, s)
	kicked, err := d.Publish()
	if kicked {
		f.count.kicks++
	}
	return err
}

// reap takes what is done. Without anything a sleeping driver sleeps until something is, or a request is due.
func (f *fleet) reap() error {
	done := 0
	for i := 0; i < len(f.flying); i++ {
		s := f.flying[i]
		_, ok, err := s.target.front.Queue(0).Reap()
		if err != nil {
			return err
		}
		if !ok {
			f.flying[i-done] = s
			continue
		}
		done++
		if err := f.complete(s); err != nil {
			return err
		}
	}
	f.flying = f.flying[:len(f.flying)-done]
	if done > 0 {
		return nil
	}
	if f.config.Wait == Sleeping {
		if err := f.sleep(); err != nil {
			return err
		}
	}
	return f.patient()
}

func (f *fleet) complete(s *ship) error {
	if status := s.slot.status(); status != 0 {
		return errors.Errorf("%s at sector %d: status %d", kindNames[s.slot.kind], s.slot.sector(), status)
	}
	s.busy = false
	f.count.done++
	if s.slot.kind == kindFlush {
		f.count.flushes++
	}
	return errors.Wrap(f.latency.RecordValue(int64(max(f.tick()-s.slot.issued, latencyMin))), "record a latency")
}

// sleep waits for a call, but no longer than until the next request is due.
func (f *fleet) sleep() error {
	left := f.due - f.tick()
	if f.ships[f.next].busy {
		left = nap
	}
	if left <= 0 {
		return nil
	}
	f.count.sleeps++
	timeout := unix.NsecToTimespec(int64(left))
	fds := [1]unix.PollFd{{Fd: int32(f.events.Int()), Events: unix.POLLIN}}
	if _, err := unix.Ppoll(fds[:], &timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return errors.Wrap(err, "wait for calls")
	}
	var events [16]unix.EpollEvent
	n, err := unix.EpollWait(f.events.Int(), events[:], 0)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return errors.Wrap(err, "wait for calls")
	}
	for i := range max(n, 0) {
		if _, err := sys.Drain(f.ships[events[i].Fd].target.front.Queue(0).CallFD()); err != nil {
			return err
		}
	}
	return nil
}

// patient tells when it is time to give up.
func (f *fleet) patient() error {
	switch {
	case f.ctx.Err() != nil:
		return context.Cause(f.ctx)
	case len(f.flying) == 0:
		return nil
	}
	s := f.flying[0]
	since := f.tick() - s.slot.issued
	switch {
	case since > f.config.Patience:
		return errors.Errorf("no completion for %v, %d requests in flight", f.config.Patience, len(f.flying))
	case since > silence && f.now-f.asked > silence:
		if f.asked = f.now; s.target.front.Ended() {
			return errors.Errorf("the back-end has ended, or has closed the connection, with %d requests in flight", len(f.flying))
		}
	}
	return nil
}

// close ends the connections.
func (f *fleet) close(good bool) error {
	var err error
	for _, s := range f.ships {
		if e := s.target.close(good); err == nil {
			err = e
		}
	}
	if e := f.events.Close(); err == nil {
		err = e
	}
	return err
}
