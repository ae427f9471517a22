// Command generate writes what is made of the control API's .proto: its Go code, and the record of what is released. `make
// generate` runs it, in api/v1; nothing but Go is needed. The plugins are the ones that go.mod pins as tools.
//
// The record, released.txt, has one line for each field, value, method and comment. Lines are only ever added to it by this
// program: what clients were built against keeps its name, number, type and meaning. Read next: record.go.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pkg/errors"
)

const source = "vublk.proto"

// recordFile is where the record stands, beside the source.
const recordFile = "released.txt"

func main() {
	if err := run(context.Background(), "."); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// run reads the source in dir and writes all that is made of it there.
func run(ctx context.Context, dir string) error {
	file, err := compile(ctx, dir)
	if err != nil {
		return err
	}
	made, err := generate(ctx, file)
	if err != nil {
		return err
	}
	record, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.WithStack(err)
	}
	extended, err := extend(record, describe(file))
	if err != nil {
		return err
	}
	made[recordFile] = extended
	for name, text := range made {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return errors.WithStack(err)
		}
	}
	return nil
}
