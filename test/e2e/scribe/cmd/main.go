// Command scribe runs package scribe's writers in a guest until a file exists.
//
//	scribe DIRECTORY WRITERS STOP PROGRESS
//
// PROGRESS is a file that holds how many records there are. The report goes to standard output, as JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"

	"github.com/vublk/vublk/test/e2e/scribe"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "scribe: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("%d arguments, want 4", len(args))
	}
	writers, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	stop := func() bool {
		_, err := os.Lstat(args[2])
		return err == nil
	}
	var mu sync.Mutex
	report, err := scribe.Run(args[0], writers, stop, func(records int64) {
		mu.Lock()
		defer mu.Unlock()
		// For people and tests that look; a record more or less is all the same to them.
		_ = os.WriteFile(args[3]+".new", strconv.AppendInt(nil, records, 10), 0o644)
		_ = os.Rename(args[3]+".new", args[3])
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}
