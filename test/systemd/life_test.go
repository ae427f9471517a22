package systemd

import (
	"context"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

// outlive gives systemd an order that ends the daemon, while requests are in flight, and returns how long it takes until the
// next one has answered some. It tells how that time divides.
func (c *container) outlive(order string) (stall time.Duration) {
	c.t.Helper()
	c.await("requests in flight", func() bool { return c.stats(time.Time{}).GetInFlight() > 0 })
	asked, at := time.Now(), monotonic()
	c.run(order)
	c.await("an answer", func() bool {
		q := c.stats(asked)
		return q.GetRead().GetRequests()+q.GetWrite().GetRequests()+q.GetFlush().GetRequests() > 0
	})
	answered := monotonic()
	l := c.life()
	c.t.Logf("%s: after %v the daemon ends, %v that is over, %v the next one begins, %v is ready; %v an answer is seen", order,
		l["ActiveExit"]-at, l["InactiveEnter"]-at, l["ExecMainStart"]-at, l["ActiveEnter"]-at, answered-at)
	return answered - at
}

// life waits until the daemon is ready and returns when systemd saw what of it, by the names of systemd's properties.
func (c *container) life() (moments map[string]time.Duration) {
	c.t.Helper()
	var out string
	c.await("the daemon", func() bool {
		out = c.run("systemctl show " + service)
		return strings.Contains(out, "\nActiveState=active\n")
	})
	moments = map[string]time.Duration{}
	for _, m := range regexp.MustCompile(`(?m)^(\w+)TimestampMonotonic=(\d+)$`).FindAllStringSubmatch(out, -1) {
		us, err := time.ParseDuration(m[2] + "us")
		must(c.t, err)
		moments[m[1]] = us.Round(time.Millisecond)
	}
	return moments
}

// stats are the counters of the disk, by a daemon that has begun after a moment; nil: there is none yet.
func (c *container) stats(begun time.Time) *vublkv1.QueueStats {
	conn, err := net.Dial("unix", c.path("/run/vublk/control.sock"))
	if err != nil {
		c.t.Fatal(err) // it is systemd's, and always there
	}
	rpc := ttrpc.NewClient(conn)
	defer func() { _ = rpc.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), containerTime)
	defer cancel()
	observe := vublkv1.NewObserveClient(rpc)
	info, err := observe.Info(ctx, &vublkv1.InfoRequest{})
	if err != nil || info.GetStartedUnixNs() < begun.UnixNano() {
		return nil
	}
	got, err := observe.Stats(ctx, &vublkv1.StatsRequest{})
	if err != nil || len(got.GetExports()) != 1 {
		return nil
	}
	return got.GetExports()[0].GetTotal()
}

// monotonic is the clock of systemd's timestamps.
func monotonic() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // every kernel has it
	}
	return time.Duration(now.Nano()).Round(time.Millisecond)
}
