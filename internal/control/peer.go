package control

import (
	"net"
	"os"
	"slices"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/export"
)

// peer is the process at the other end of a connection, as it was when it connected (unix(7), SO_PEERCRED).
type peer struct {
	pid      int32
	uid, gid uint32
	groups   []uint32 // supplementary ones (SO_PEERGROUPS)
}

func (p peer) String() string { return export.Process(p.pid, p.uid) }

// owner tells whether the process is root's or the daemon's own user's.
func (p peer) owner() bool { return p.uid == 0 || int(p.uid) == os.Geteuid() }

// mayCall tells whether the process may call: it is an owner, or a member of group; -1: of no group.
func (p peer) mayCall(group int) bool {
	return p.owner() || group >= 0 && (p.gid == uint32(group) || slices.Contains(p.groups, uint32(group)))
}

func peerOf(conn *net.UnixConn) (p peer, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return p, errors.WithStack(err)
	}
	var asked error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); asked == nil {
			p.pid, p.uid, p.gid = cred.Pid, cred.Uid, cred.Gid
			p.groups, asked = peerGroups(int(fd))
		}
	})
	if err == nil {
		err = asked
	}
	return p, errors.Wrap(err, "ask who has connected")
}
