package export

import (
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/internal/resume"
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
