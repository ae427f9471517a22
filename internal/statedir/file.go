package statedir

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pkg/errors"
)

const (
	magic   = "vublk-export"
	version = 1
	// maxFile is far above what a definition can need: it bounds what is read of a file that is none.
	maxFile = 1 << 20
)

// content is what follows the first line of a file.
type content struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

// encode writes a file.
func encode(name string, value any) ([]byte, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, errors.Wrapf(err, "write %q", name)
	}
	body, err := json.MarshalIndent(content{Name: name, Value: raw}, "", "  ")
	if err != nil {
		return nil, errors.Wrapf(err, "write %q", name)
	}
	body = append(body, '\n')
	return append([]byte(fmt.Sprintf("%s %d sha256=%s\n", magic, version, checksum(body))), body...), nil
}

func checksum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// ErrTooNew tells that what a file holds is of a newer program.
var ErrTooNew = errors.New("it is of a newer vublk than this one")

// decode reads a file. Whoever edits one by hand may write "sha256=any".
func decode(b []byte) (content, error) {
	line, body, ok := bytes.Cut(b, []byte("\n"))
	var v int
	var sum string
	if !ok {
		return content{}, errors.New("it has no first line: it was cut off")
	}
	if n, err := fmt.Sscanf(string(line), magic+" %d sha256=%s", &v, &sum); err != nil || n != 2 {
		return content{}, errors.Errorf("its first line is not %q", magic+" VERSION sha256=CHECKSUM")
	}
	switch {
	case v > version:
		return content{}, ErrTooNew
	case sum != "any" && !strings.EqualFold(sum, checksum(body)):
		return content{}, errors.New("its checksum is wrong: it was cut off, or changed by hand (write sha256=any then)")
	}
	var c content
	if err := json.Unmarshal(body, &c); err != nil {
		return content{}, errors.Wrap(err, "it is not JSON")
	}
	if c.Name == "" || len(c.Value) == 0 {
		return content{}, errors.New("it has no name, or no value")
	}
	return c, nil
}
