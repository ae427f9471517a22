package guest

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/errors"
)

// connectTime is how long QEMU may take from its start to its sockets. A chardev with reconnect=1 waits for vublk before.
const connectTime = 2 * time.Minute

// agentMessage is one line of the protocol described in agent.sh.
type agentMessage struct {
	kind   string
	id     string
	status int
	output string
}

const (
	messageReady = "@ready"
	messageDone  = "@done"
)

// agent is the host's end of the channel. Its goroutine reads; everything else is the owner's.
type agent struct {
	conn     net.Conn
	last     int
	messages chan agentMessage // closed when the channel breaks
	stop     chan struct{}     // closed by close
	done     chan struct{}     // closed when the goroutine ended
}

func newAgent(conn net.Conn) *agent {
	a := &agent{conn: conn, messages: make(chan agentMessage), stop: make(chan struct{}), done: make(chan struct{})}
	go a.read()
	return a
}

func (a *agent) read() {
	defer close(a.done)
	defer close(a.messages)
	for r := bufio.NewReader(a.conn); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		m, ok := parseAgentMessage(line)
		if !ok {
			continue // what a reset cut off
		}
		select {
		case a.messages <- m:
		case <-a.stop:
			return
		}
	}
}

func parseAgentMessage(line string) (m agentMessage, ok bool) {
	words := strings.Fields(line)
	switch {
	case len(words) == 2 && words[0] == messageReady:
		return agentMessage{kind: messageReady, id: words[1]}, true
	case (len(words) == 3 || len(words) == 4) && words[0] == messageDone:
		m = agentMessage{kind: messageDone, id: words[1]}
		status, err := strconv.Atoi(words[2])
		if err != nil {
			return m, false
		}
		m.status = status
		if len(words) == 4 {
			output, err := base64.StdEncoding.DecodeString(words[3])
			if err != nil {
				return m, false
			}
			m.output = string(output)
		}
		return m, true
	}
	return m, false
}

// send starts a script and returns its id.
func (a *agent) send(script string) (id string, err error) {
	a.last++
	id = strconv.Itoa(a.last)
	_, err = fmt.Fprintf(a.conn, "%s %s\n", id, base64.StdEncoding.EncodeToString([]byte(script)))
	return id, err
}

func (a *agent) close() {
	select {
	case <-a.stop:
		return
	default:
	}
	close(a.stop)
	_ = a.conn.Close()
	<-a.done
}

// receive waits for the message that want accepts; others are dropped.
func (g *Guest) receive(ctx context.Context, want func(agentMessage) bool) (agentMessage, error) {
	for {
		select {
		case m, open := <-g.agent.messages:
			if !open {
				return m, errors.New("the guest's agent channel is closed")
			}
			if want(m) {
				return m, nil
			}
		case <-g.exited:
			return agentMessage{}, errors.Errorf("QEMU ended: %v: %s", g.exitErr, g.Log())
		case <-ctx.Done():
			return agentMessage{}, ctx.Err()
		}
	}
}

func listen(path string) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	return l, errors.Wrap(err, "socket for QEMU")
}

// accept waits for QEMU to connect, and notices when it ends instead.
func (g *Guest) accept(l *net.UnixListener) (net.Conn, error) {
	deadline := time.Now().Add(connectTime)
	for {
		if err := l.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			return nil, errors.Wrap(err, "socket for QEMU")
		}
		conn, err := l.Accept()
		switch {
		case err == nil:
			return conn, nil
		case !g.Running():
			return nil, errors.Errorf("QEMU ended: %v: %s", g.exitErr, g.Log())
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, errors.Wrap(err, "socket for QEMU")
		case time.Now().After(deadline):
			return nil, errors.New("QEMU does not connect to its sockets")
		}
	}
}
