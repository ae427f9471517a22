package export

import (
	"encoding/json"
	"strings"

	"github.com/pkg/errors"
)

// The kinds of Store.
const (
	storeNull = "null" // forgets writes; a read leaves the memory that it should fill as it is
	storeMem  = "mem"  // keeps data in this process
)

// Store is a Disk without a file: "null:1GiB" or "mem:1GiB". In JSON it is that text.
type Store struct {
	Kind string
	Size int64 // bytes
}

// ParseStore reads KIND:SIZE.
func ParseStore(s string) (Store, error) {
	kind, size, found := strings.Cut(s, ":")
	if !found || kind != storeNull && kind != storeMem {
		return Store{}, errors.New("not a store; write null:SIZE or mem:SIZE, such as mem:1GiB")
	}
	n, err := ParseSize(size)
	if err != nil {
		return Store{}, err
	}
	if n == 0 {
		return Store{}, errors.Errorf("a store of no bytes; write %s:1GiB", kind)
	}
	return Store{Kind: kind, Size: n}, nil
}

// String is what ParseStore reads.
func (s Store) String() string {
	if s.Kind == "" {
		return ""
	}
	return s.Kind + ":" + FormatSize(s.Size)
}

// MarshalJSON writes the text form.
func (s Store) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalJSON reads the text form.
func (s *Store) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	if text == "" {
		*s = Store{}
		return nil
	}
	parsed, err := ParseStore(text)
	*s = parsed
	return errors.Wrapf(err, "store %q", text)
}
