package guest

import (
	"encoding/json"
	"net"
	"strings"
	"time"

	"github.com/pkg/errors"
)

// qmpTime is how long QEMU may take to answer: stop and quit wait for the back-end to drain.
const qmpTime = 2 * time.Minute

// QMP drives QEMU's machine protocol. Its goroutine reads; everything else is the owner's.
type QMP struct {
	conn     net.Conn
	messages chan qmpMessage
	events   []qmpMessage // arrived, not yet waited for
	last     int
	stop     chan struct{}
	done     chan struct{}
}

type qmpMessage struct {
	Greeting json.RawMessage `json:"QMP"`
	ID       int             `json:"id"`
	Return   json.RawMessage `json:"return"`
	Event    string          `json:"event"`
	Data     json.RawMessage `json:"data"`
	Error    *QMPError       `json:"error"`
}

// QMPError is QEMU's refusal of a command.
type QMPError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *QMPError) Error() string { return e.Class + ": " + e.Desc }

func newQMP(conn net.Conn) *QMP {
	q := &QMP{conn: conn, messages: make(chan qmpMessage), stop: make(chan struct{}), done: make(chan struct{})}
	go q.read()
	return q
}

func (q *QMP) read() {
	defer close(q.done)
	defer close(q.messages)
	for d := json.NewDecoder(q.conn); ; {
		var m qmpMessage
		if err := d.Decode(&m); err != nil {
			return
		}
		select {
		case q.messages <- m:
		case <-q.stop:
			return
		}
	}
}

func (q *QMP) greet() error {
	m, err := q.next(time.Now().Add(qmpTime))
	if err != nil {
		return errors.Wrap(err, "QMP greeting")
	}
	if m.Greeting == nil {
		return errors.New("QMP begins without a greeting")
	}
	return q.Execute("qmp_capabilities", nil, nil)
}

// Execute runs a command; args and result may be nil.
func (q *QMP) Execute(command string, args, result any) error {
	q.last++
	request := map[string]any{"execute": command, "id": q.last}
	if args != nil {
		request["arguments"] = args
	}
	line, err := json.Marshal(request)
	if err != nil {
		return errors.Wrap(err, command)
	}
	if _, err := q.conn.Write(append(line, '\n')); err != nil {
		return errors.Wrap(err, command)
	}
	for deadline := time.Now().Add(qmpTime); ; {
		m, err := q.next(deadline)
		switch {
		case err != nil:
			return errors.Wrap(err, command)
		case m.Event != "":
			q.events = append(q.events, m)
		case m.ID != q.last:
		case m.Error != nil:
			return errors.Wrap(m.Error, command)
		case result != nil:
			return errors.Wrap(json.Unmarshal(m.Return, result), command)
		default:
			return nil
		}
	}
}

// Human runs a line of QEMU's monitor for people and returns what it prints.
func (q *QMP) Human(line string) (printed string, err error) {
	err = q.Execute("human-monitor-command", map[string]any{"command-line": line}, &printed)
	return strings.ReplaceAll(printed, "\r", ""), err
}

// WaitEvent waits for an event whose data accept (nil: any) likes; it may have arrived already.
func (q *QMP) WaitEvent(name string, limit time.Duration, accept func(data json.RawMessage) bool) error {
	matches := func(m qmpMessage) bool { return m.Event == name && (accept == nil || accept(m.Data)) }
	for i, m := range q.events {
		if matches(m) {
			q.events = append(q.events[:i], q.events[i+1:]...)
			return nil
		}
	}
	for deadline := time.Now().Add(limit); ; {
		m, err := q.next(deadline)
		if err != nil {
			return errors.Wrapf(err, "event %s", name)
		}
		if matches(m) {
			return nil
		}
		if m.Event != "" {
			q.events = append(q.events, m)
		}
	}
}

func (q *QMP) next(deadline time.Time) (qmpMessage, error) {
	limit := time.NewTimer(time.Until(deadline))
	defer limit.Stop()
	select {
	case m, open := <-q.messages:
		if !open {
			return m, errors.New("the monitor's connection is closed")
		}
		return m, nil
	case <-limit.C:
		return qmpMessage{}, errors.New("time limit")
	}
}

func (q *QMP) close() {
	select {
	case <-q.stop:
		return
	default:
	}
	close(q.stop)
	_ = q.conn.Close()
	<-q.done
}
