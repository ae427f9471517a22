package insight

import (
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/errors"
)

// Variable names the socket that an insight build listens on.
const Variable = "VUBLK_INSIGHT"

// Ask gives an order to the process that listens at path, and returns the answer.
func Ask(path, order string) ([]byte, error) {
	conn, err := net.DialTimeout("unix", path, 10*time.Second)
	if err != nil {
		return nil, errors.Wrap(err, "ask for insight")
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, errors.Wrap(err, "ask for insight")
	}
	if _, err := io.WriteString(conn, order+"\n"); err != nil {
		return nil, errors.Wrap(err, "ask for insight")
	}
	answer, err := io.ReadAll(conn)
	return answer, errors.Wrap(err, "ask for insight")
}

// Number is Ask for an answer that is a number.
func Number(path, order string) (uint64, error) {
	answer, err := Ask(path, order)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(answer)), 10, 64)
	return n, errors.Wrapf(err, "answer to %q", order)
}
