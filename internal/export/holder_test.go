package export

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// heldRegistry is a Registry whose holder is the test: kept returns the kinds of descriptors that it has by now.
func heldRegistry(t *testing.T, name string) (r *Registry, kept func() string) {
	t.Helper()
	ours, theirs := pair(t, unix.SOCK_SEQPACKET)
	must(t, unix.SetNonblock(ours, true))
	t.Setenv(resume.SupervisorVariable, strconv.Itoa(theirs))
	holder, err := resume.Connect()
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(ours) })
	t.Cleanup(func() { _ = holder.Close() })
	r = newRegistry(t)
	r.holder = holder
	has := map[string]bool{}
	return r, func() string {
		for {
			m, err := resume.Receive(ours)
			if err != nil || len(m.Fields) == 0 {
				break
			}
			m.Close()
			switch {
			case m.Fields[resume.FieldStore] != "":
				has[m.Fields[resume.FieldName]] = true
			case m.Fields[resume.FieldRemove] != "":
				delete(has, m.Fields[resume.FieldName])
			}
		}
		var list []string
		for kind := range has {
			list = append(list, strings.TrimPrefix(kind, holderPrefix(name)))
		}
		return strings.Join(list, " ")
	}
}

// What a holder has of an export changes hands with it: a worker that dies later must not find it, the next one's must.
func TestTakeOverBetweenHolders(t *testing.T) {
	first, old := heldRegistry(t, "disk")
	path, socket := newImage(t, mib), t.TempDir()+"/s"
	e := start(t, first, "name=disk,blk-file="+path+",socket-path="+socket)
	g := clitest.Attach(t, socket, vhostusertest.Options{})
	if kept := old(); !strings.Contains(kept, kindListen) || !strings.Contains(kept, kindState) || !strings.Contains(kept, kindFile) {
		t.Fatalf("kept: %s", kept)
	}
	second, next := heldRegistry(t, "disk")
	must(t, second.TakeOver([]Definition{e.Definition()}))
	if kept := next(); kept != "" {
		t.Errorf("kept before anything is taken: %s", kept)
	}
	other, err := second.Create(e.Definition())
	must(t, err)
	other.Start()
	if !other.Listened() {
		t.Fatal(other.Err())
	}
	must(t, e.Err())
	if status := g.Do(0, clitest.Out, 0, make([]byte, 512)); status != clitest.StatusOK {
		t.Fatalf("write: status %d", status)
	}
	if kept := old(); kept != "" {
		t.Errorf("still with the old one's holder: %s", kept)
	}
	if kept := next(); !strings.Contains(kept, kindListen) || !strings.Contains(kept, kindState) {
		t.Errorf("with the new one's holder: %s", kept)
	}
}

// What ends while the process goes on must not stay with the holder: the socket would listen, with nobody to accept.
func TestHolderForgetsWhatHasEnded(t *testing.T) {
	r, kept := heldRegistry(t, "disk")
	list := "name=disk,store=mem:1M,socket-path=" + t.TempDir() + "/s"
	e := start(t, r, list)
	next, err := r.Replace(e, define(t, list+",serial=x"))
	must(t, err)
	next.Start()
	if !next.Listened() || kept() != kindListen {
		t.Fatalf("replaced: kept %q", kept())
	}
	must(t, r.End(next))
	if got := kept(); got != "" {
		t.Errorf("ended: kept %q", got)
	}
}

// A predecessor was killed after it had removed the name of a socket, and before the holder had forgotten that.
func TestKeptSocketWithoutName(t *testing.T) {
	r, _ := heldRegistry(t, "disk")
	path := t.TempDir() + "/s"
	l, err := vhostuser.Listen(path)
	must(t, err)
	file, err := l.File()
	must(t, err)
	must(t, l.Close())
	fd, err := unix.Dup(int(file.Fd()))
	must(t, err)
	must(t, file.Close())
	r.Inherit(map[string]*sys.FD{holderPrefix("disk") + kindListen: sys.NewFD(fd)})
	start(t, r, "name=disk,store=mem:1M,socket-path="+path)
	clitest.Attach(t, path, vhostusertest.Options{})
}

// An export that could not be opened after a restart is mended, and started again.
func TestFailedHeirStartsAgain(t *testing.T) {
	r, kept := heldRegistry(t, "disk")
	dir := t.TempDir()
	path, list := dir+"/s", "name=disk,blk-file="+dir+"/disk.raw,socket-path="+dir+"/s"
	l, err := vhostuser.Listen(path)
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	file, err := l.File()
	must(t, err)
	must(t, l.UnixListener.Close())
	must(t, r.holder.Store(holderPrefix("disk")+kindListen, int(file.Fd())))
	fd, err := unix.Dup(int(file.Fd()))
	must(t, err)
	t.Cleanup(func() { _ = file.Close() }) // a holder that has not read anything yet
	r.Inherit(map[string]*sys.FD{holderPrefix("disk") + kindListen: sys.NewFD(fd)})
	e, err := r.Create(define(t, list))
	must(t, err)
	e.Start()
	if e.Listened() {
		t.Fatal("it listens without an image")
	}
	must(t, r.End(e))
	if got := kept(); got != kindListen {
		t.Fatalf("kept %q", got)
	}
	must(t, os.WriteFile(dir+"/disk.raw", make([]byte, mib), 0o600))
	start(t, r, list)
}
