package duel

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/vhostuser"
)

// roleVariable makes the test binary one of the programs that the tests start.
const roleVariable = "VUBLK_TEST_DUEL"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		play(role)
		return
	}
	leaktest.Main(m)
}

// play is the life of a program. Its socket, if any, is its last argument.
func play(role string) {
	fmt.Fprintln(os.Stderr, "I am", role)
	socket := os.Args[len(os.Args)-1]
	switch role {
	case "die":
		fmt.Fprintln(os.Stderr, "no such disk")
		os.Exit(3)
	case "serve":
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGTERM)
		backend(socket)
		<-ended
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		backend(socket)
		select {}
	case "parent":
		dir := filepath.Dir(socket)
		check(os.Setenv(roleVariable, "serve"))
		p, err := StartProcess(context.Background(), -1, filepath.Join(dir, "child.log"), []string{os.Args[0], socket}, socket)
		check(err)
		fmt.Println(p.PID())
		select {}
	case "silent":
		select {}
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(4)
	}
}

// backend serves a disk that cannot be written to.
func backend(socket string) {
	pool, err := blk.NewPool(blk.PoolOptions{Workers: 1, Slots: 64})
	check(err)
	dev, err := pool.NewDevice(blk.NewNull(1<<20), blk.DeviceOptions{ReadOnly: true})
	check(err)
	l, err := vhostuser.Listen(socket)
	check(err)
	go func() {
		for {
			conn, err := l.AcceptUnix()
			check(err)
			_ = vhostuser.NewSession(conn, dev, vhostuser.Options{}).Serve(context.Background())
		}
	}()
}

// program returns the command line of a role, for the test and what it starts.
func program(t *testing.T, role string, args ...string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(roleVariable, role)
	return append([]string{self}, args...)
}

func want(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want one with %q", err, part)
		}
	}
}
