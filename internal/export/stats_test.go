package export

import (
	"testing"
	"time"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// wantStats compares what two exports of a registry say of themselves with what they must, in the order of their names.
func wantStats(t *testing.T, when string, r *Registry, want ...Stats) {
	t.Helper()
	all, workers := r.Stats()
	if len(all) != len(want) || len(workers) != 1 {
		t.Fatalf("%s: %d exports and %d workers", when, len(all), len(workers))
	}
	for i, s := range all {
		w := want[i]
		got := [...]uint64{s.Sessions, s.Resumes, s.Device.Total.Write.Requests, s.Device.Total.Read.Requests, s.Device.Fdatasyncs}
		wanted := [...]uint64{w.Sessions, w.Resumes, w.Device.Total.Write.Requests, w.Device.Total.Read.Requests, w.Device.Fdatasyncs}
		if s.Name != w.Name || s.State != w.State || got != wanted {
			t.Errorf("%s: %s is %v with %v, want %s, %v with %v", when, s.Name, s.State, got, w.Name, w.State, wanted)
		}
	}
}

// Sessions come and go, an export begins and ends: its books stay.
func TestStats(t *testing.T) {
	r := newRegistry(t)
	image, dir := newImage(t, mib), t.TempDir()
	late, err := r.Create(define(t, "name=b,store=null:1M,socket-path="+dir+"/b"))
	must(t, err)
	a := start(t, r, "name=a,blk-file="+image+",socket-path="+dir+"/a")
	first, second := Stats{Name: "a", State: Listening}, Stats{Name: "b", State: Created}
	wantStats(t, "at first", r, first, second)
	for range 2 {
		g := clitest.Attach(t, dir+"/a", vhostusertest.Options{})
		for range 3 {
			if status := g.Do(0, clitest.Out, 0, make([]byte, 512)); status != clitest.StatusOK {
				t.Fatalf("write: status %d", status)
			}
		}
		first.State = Attached
		first.Sessions++
		first.Device.Total.Write.Requests += 3
		wantStats(t, "in a session", r, first, second)
		must(t, g.Disconnect())
		await(t, a, Listening)
		first.State = Listening
		first.Device.Fdatasyncs++ // the session's end
		wantStats(t, "after it", r, first, second)
	}
	must(t, a.end())
	must(t, late.end())
	first.State, second.State = Closed, Closed
	wantStats(t, "in the end", r, first, second)
}

// A session that goes on in another process is one there, and a resumed one; it begins with empty books.
func TestStatsOfATakeOver(t *testing.T) {
	s := serveImage(t, ",name=disk")
	before := s.Stats()
	r := newRegistry(t)
	must(t, r.TakeOver([]Definition{s.Definition()}))
	e, err := r.Create(s.Definition())
	must(t, err)
	e.Start()
	if !e.Listened() {
		t.Fatal(e.Err())
	}
	must(t, s.Err())
	if status := s.guest.Do(0, clitest.In, 0, make([]byte, 512)); status != clitest.StatusOK {
		t.Fatalf("read: status %d", status)
	}
	// The rings go on before anybody is told that they do.
	for deadline := time.Now().Add(20 * time.Second); e.Stats().Resumes == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no session was resumed")
		}
	}
	want := Stats{Name: "disk", State: Attached, Sessions: 1, Resumes: 1}
	want.Device.Total.Read.Requests = 1
	wantStats(t, "after it", r, want)
	if after := s.Stats(); after.Sessions != 1 || after.Resumes != 0 || after.Device.Total.Write.Requests != before.Device.Total.Write.Requests {
		t.Errorf("the old export: %+v", after)
	}
}
