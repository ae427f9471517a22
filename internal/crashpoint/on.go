//go:build crashpoint

package crashpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Enabled tells whether the points exist.
const Enabled = true

// OnStore is called by Store when it is set. It may panic, which ends the work of the one who stored. Tests set it while
// nobody stores.
var OnStore func()

// Store is called after each store to memory that is shared with a guest or a front-end.
func Store() {
	if OnStore != nil {
		OnStore()
	}
}

// variable names the point at which this process is to die, or the file that does.
const variable = "VUBLK_CRASHPOINT"

// target is the point of this process, and left how often it is passed before.
var (
	target string
	left   atomic.Int64
)

func init() {
	text := os.Getenv(variable)
	if strings.HasPrefix(text, "/") {
		var err error
		if text, err = takeLine(text); err != nil {
			panic("crashpoint: " + variable + ": " + err.Error())
		}
	}
	name, count, found := strings.Cut(text, ":")
	target = name
	n := 1
	if found {
		var err error
		if n, err = strconv.Atoi(count); err != nil {
			panic("crashpoint: " + variable + ": " + err.Error())
		}
	}
	left.Store(int64(n))
}

// takeLine removes the first line of a file and returns it; "" when there is none any more.
func takeLine(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	line, others, _ := strings.Cut(string(b), "\n")
	return line, os.WriteFile(path, []byte(others), 0o600)
}

// Reach is called at the point that name stands for. It does not return when this is where the process dies.
func Reach(name string) {
	if name != target || left.Add(-1) != 0 {
		return
	}
	_, _ = os.Stderr.WriteString("crashpoint reached: " + name + "\n")
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {}
}
