package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/vublk/vublk/internal/cli/clitest"
)

func TestInfoTable(t *testing.T) {
	status, stdout, stderr := clitest.Run(t, clitest.Options{}, "info")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, %q", status, stderr)
	}
	column := -1
	for _, line := range strings.Split(stdout, "\n") {
		switch {
		case strings.HasPrefix(line, "FEATURE"), strings.HasPrefix(line, "OPERATION"):
			column = strings.Index(line, "SINCE LINUX")
		case line == "":
			column = -1
		case column > 0 && (line[column-1] != ' ' || line[column] < '1' || line[column] > '9'):
			t.Errorf("not aligned: %q", line)
		}
	}
	for _, want := range []string{"io_uring can be used", "DEFER_TASKRUN", "FALLOCATE", "locked memory", "open files", "CPUs"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing:\n%s", want, stdout)
		}
	}
}

func TestInfoJSON(t *testing.T) {
	status, stdout, stderr := clitest.Run(t, clitest.Options{}, "info", "--output=json")
	var i info
	if err := json.Unmarshal([]byte(stdout), &i); err != nil || status != 0 || stderr != "" {
		t.Fatalf("status %d, %v, %q", status, err, stderr)
	}
	if !i.Usable || i.Kernel == "" || len(i.Features) < 5 || len(i.Ops) < 10 || len(i.Limits) < 5 {
		t.Fatalf("%+v", i)
	}
	for _, c := range append(i.Features, i.Ops...) {
		if c.Name == "" || c.Since == "" || c.Without == "" {
			t.Errorf("%+v", c)
		}
	}
}
