package main

import (
	"io"
	"testing"

	"github.com/vublk/vublk/internal/manual"
)

// The page that is installed says what the help says now.
func TestManualIsCurrent(t *testing.T) {
	page := manual.Page{Command: command(io.Discard), Section: 1, SeeAlso: []string{"vublk(1)", "vublk-serve(1)", "qemu(1)", "virsh(1)"}}
	if err := manual.Check("../../packaging/man", []manual.Page{page}); err != nil {
		t.Error(err)
	}
}
