package cli

import (
	"log/slog"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// What an export takes of descriptors: alone its socket and its image, and with a front-end that has one queue, one region
// of memory and a channel for messages to it the connection and a duplicate, the channel, the region, the in-flight buffer
// and 6 of the queue.
const (
	ownDescriptors   = 60 // of the process: its workers' rings, the log, the runtime's
	exportAlone      = 2
	exportAttached   = 13
	raiseDescriptors = "raise RLIMIT_NOFILE (ulimit -Hn, LimitNOFILE= in a systemd unit)"
)

// reserveDescriptors checks that there is room for so many exports, and makes the table large enough now. The runtime has
// raised the soft limit to the hard one.
func reserveDescriptors(exports int, log *slog.Logger) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return errors.Wrap(err, "read RLIMIT_NOFILE")
	}
	alone, attached := uint64(ownDescriptors+exports*exportAlone), uint64(ownDescriptors+exports*exportAttached)
	switch {
	case alone > limit.Cur:
		return Usagef("%d exports take %d descriptors, the limit is %d: %s", exports, alone, limit.Cur, raiseDescriptors)
	case attached > limit.Cur:
		log.Warn("front-ends will find no descriptors left: "+raiseDescriptors,
			"exports", exports, "with_a_front_end_each", attached, "limit", limit.Cur)
	}
	return growDescriptors(attached)
}

// growDescriptors has the kernel make the table of descriptors large enough for so many, if the limit allows that. Whenever
// it grows in a process of several threads, all who open something wait for an RCU grace period, and the runtime starts a
// thread for each that waits.
func growDescriptors(n uint64) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return errors.Wrap(err, "read RLIMIT_NOFILE")
	}
	fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, int(min(n, limit.Cur)-1))
	if err != nil {
		return nil //nolint:nilerr // no descriptor 0, or no memory: the table grows when it must
	}
	return errors.Wrap(unix.Close(fd), "close a descriptor")
}
