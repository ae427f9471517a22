package manual

import (
	"bytes"
	"os"
	"path/filepath"

	"github.com/pkg/errors"
)

// Variable is set when pages are to be written instead of compared; `make man` does that.
const Variable = "VUBLK_WRITE_MAN"

// Check compares the pages with the files in dir, packaging/man, and tells which file is not what it should be. With Variable
// in the environment it writes them.
func Check(dir string, pages []Page) error {
	for _, p := range pages {
		written, err := os.ReadFile(filepath.Join(dir, "written", p.Name()+".txt"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		p.Written = string(written)
		var b bytes.Buffer
		if _, err := p.WriteTo(&b); err != nil {
			return err
		}
		path := filepath.Join(dir, p.File())
		if os.Getenv(Variable) != "" {
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				return err
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(have, b.Bytes()) {
			return errors.Errorf("%s is not what the help and %s/written say (%v): run make man", path, dir, err)
		}
	}
	return nil
}
