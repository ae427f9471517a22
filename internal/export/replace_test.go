package export

import (
	"strings"
	"sync"
	"testing"
)

// TestReplaceKeepsReservations has somebody want the socket and the image of an export all the time that it is replaced.
func TestReplaceKeepsReservations(t *testing.T) {
	r := newRegistry(t)
	dir := t.TempDir()
	list := "name=a,store=mem:1M,socket-path=" + dir + "/s"
	e := start(t, r, list)
	thief := define(t, "name=thief,store=mem:1M,socket-path="+dir+"/s")
	quit := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
			}
			if _, err := r.Create(thief); err == nil || !strings.Contains(err.Error(), "has this socket already") {
				t.Errorf("somebody else got the socket: %v", err)
				return
			}
		}
	})
	for i := range 50 {
		d := define(t, list+",serial="+strings.Repeat("x", i%20+1))
		next, err := r.Replace(e, d)
		if err != nil {
			t.Fatal(err)
		}
		next.Start()
		if !next.Listened() || e.State() != Closed || next.Definition().Device.Serial != d.Device.Serial {
			t.Fatalf("%v, the one before is %v", next.State(), e.State())
		}
		e = next
	}
	close(quit)
	wait.Wait()
	bad := define(t, list)
	bad.Device.NumQueues = 0
	if _, err := r.Replace(e, bad); err == nil || e.State() != Listening {
		t.Fatalf("a wrong definition: %v, %v", err, e.State())
	}
	if err := r.End(e); err != nil {
		t.Fatal(err)
	}
	start(t, r, "name=thief,store=mem:1M,socket-path="+dir+"/s")
}
