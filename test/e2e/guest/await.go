package guest

import (
	"os"
	"path/filepath"

	"github.com/pkg/errors"
)

// AgentPort is the name of the virtserialport on which a guest's agent talks to us.
const AgentPort = "vublk.agent"

// agentSocket is where we listen for it, in a guest's directory.
const agentSocket = "agent.sock"

// AgentSocket is the path that a QEMU which somebody else starts connects that port to.
func AgentSocket(dir string) string { return filepath.Join(dir, agentSocket) }

// Await returns a guest that start has somebody else start: libvirt, say. Its QEMU connects AgentPort to AgentSocket(dir);
// its process and its monitor are theirs, so of the methods only those work that talk to the agent, and Close leaves it
// running.
func Await(dir string, start func() error) (*Guest, error) {
	l, err := listen(AgentSocket(dir))
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	// Their QEMU may run as another user.
	if err := os.Chmod(AgentSocket(dir), 0o666); err != nil {
		return nil, errors.Wrap(err, "socket for QEMU")
	}
	if err := start(); err != nil {
		return nil, err
	}
	g := &Guest{exited: make(chan struct{})}
	conn, err := g.accept(l)
	if err != nil {
		return nil, err
	}
	g.agent = newAgent(conn)
	return g, nil
}
