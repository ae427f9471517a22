package control

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/ttrpc"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

// childSocket is the environment variable with which a test runs its own binary as another user's client.
const childSocket = "VUBLK_TEST_CALL"

// childMain is the client: it calls once and says how that went.
func childMain() bool {
	path := os.Getenv(childSocket)
	if path == "" {
		return false
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		c := ttrpc.NewClient(conn)
		_, err = vublkv1.NewObserveClient(c).Info(context.Background(), &vublkv1.InfoRequest{})
	}
	if err != nil {
		_, _ = os.Stdout.WriteString("refused: " + err.Error())
		return true
	}
	_, _ = os.Stdout.WriteString("answered")
	return true
}

// callAs calls the server of r as another user. The socket lets everybody in: it is the server who must not.
func (r *rig) callAs(t *testing.T, cred *syscall.Credential) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root: it runs clients as other users")
	}
	for path, mode := range map[string]os.FileMode{r.path: 0o666, filepath.Dir(r.path): 0o755, filepath.Dir(filepath.Dir(r.path)): 0o755} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{childSocket + "=" + r.path, "GORACE=atexit_sleep_ms=0"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	return out.String()
}

func TestPeerCredentials(t *testing.T) {
	const nobody, members = 65534, 4711
	for _, c := range []struct {
		name    string
		group   int
		cred    syscall.Credential
		answers bool
	}{
		{"root", -1, syscall.Credential{}, true},
		{"another user", -1, syscall.Credential{Uid: nobody, Gid: nobody}, false},
		{"root's group is no licence", -1, syscall.Credential{Uid: nobody, Gid: 0}, false},
		{"another group", members, syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{1, 2, 3}}, false},
		{"the group, primary", members, syscall.Credential{Uid: nobody, Gid: members}, true},
		{"the group, supplementary", members, syscall.Credential{Uid: nobody, Gid: nobody, Groups: many(members)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRigFor(t, Limits{}, c.group)
			want := "refused: ttrpc: closed"
			if c.answers {
				want = "answered"
			}
			if said := r.callAs(t, &c.cred); !strings.HasPrefix(said, want) {
				t.Errorf("%s, want: %s", said, want)
			}
			r.works(t)
		})
	}
}

// many are more groups than the first attempt to read them has room for, with last at their end.
func many(last uint32) []uint32 {
	var groups []uint32
	for g := range uint32(100) {
		groups = append(groups, 10000+g)
	}
	return append(groups, last)
}
