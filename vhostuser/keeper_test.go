package vhostuser_test

import (
	"encoding/json"
	"slices"
	"sync"
	"testing"

	"github.com/vublk/vublk/vhostuser"
)

// noKeeper keeps everything with nobody, and remembers what was said.
type noKeeper struct {
	mu    sync.Mutex
	owed  [][]byte // the states with an answer that is owed, as JSON
	steps []vhostuser.Step
	fail  bool
}

func (k *noKeeper) Keep(st *vhostuser.State) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if st.Owed != nil {
		b, err := json.Marshal(st)
		if err != nil {
			return err
		}
		k.owed = append(k.owed, b)
	}
	if k.fail {
		return errFake
	}
	return nil
}

func (k *noKeeper) Step(s vhostuser.Step) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.steps = append(k.steps, s)
}

// TestStepsOfAnAnswer: the keeper hears of each.
func TestStepsOfAnAnswer(t *testing.T) {
	k := &noKeeper{}
	r := newRig(t, vhostuser.Options{Keeper: k})
	r.alive()
	r.set(vhostuser.RequestSetOwner, nil)
	r.alive()
	r.hangUp()
	want := []vhostuser.Step{vhostuser.StepConsumed, vhostuser.StepNone, vhostuser.StepConsumed, vhostuser.StepNone}
	if !slices.Equal(k.steps, want) {
		t.Errorf("steps %v, want %v", k.steps, want)
	}
}

// TestKeeperFails: a session that cannot be kept goes on.
func TestKeeperFails(t *testing.T) {
	r := newRig(t, vhostuser.Options{Keeper: &noKeeper{fail: true}})
	r.alive()
	r.negotiate(allFeatures)
	r.addMemory()
	r.hangUp()
}
