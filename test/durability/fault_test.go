package durability

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
)

// faulty returns c once for each call that its requests make, with that call failing.
func faulty(t *testing.T, c config, f fault) []config {
	t.Helper()
	_, calls, err := execute(c)
	if err != nil {
		t.Fatal(err)
	}
	var list []config
	for f.call = range calls {
		c.fault = f
		list = append(list, c)
	}
	return list
}

// TestFaultAtEveryCall is I4 and I7: each call fails in its turn, with nothing or half of it done.
func TestFaultAtEveryCall(t *testing.T) {
	w := newTable(t)
	var all verdict
	for _, m := range []mode{writeBack, writeThrough, configWCE} {
		for _, c := range corners(m) {
			c.requests = scale(16, 20)
			var list []config
			for i, s := range seeds(1) {
				c.seed = s
				list = append(list, faulty(t, c, fault{err: unix.EIO, part: i%2 == 0})...)
				list = append(list, faulty(t, c, fault{err: unix.ENOSPC, part: i%2 != 0})...)
			}
			all.add(prove(t, w, c.String()+", a call fails", list))
		}
	}
	w.line("all", "", all.cuts, all.subsets, all.losses, all.wrong, "")
}

// TestFindsRetriedFlushes: with --flush-error=retry a later FLUSH is answered OK, and what the failed one had dropped is
// lost. The checker sees both.
func TestFindsRetriedFlushes(t *testing.T) {
	for _, c := range corners(writeBack) {
		c.requests, c.flushError = 40, blk.FlushErrorRetry
		var found verdict
		for _, c.seed = range seeds(8) {
			for _, one := range faulty(t, c, fault{err: unix.EIO}) {
				v, _, err := execute(one)
				if err != nil {
					t.Fatal(err)
				}
				found.add(v)
			}
			if found.losses > 0 && found.wrong > 0 {
				break
			}
		}
		if found.losses == 0 || found.wrong == 0 {
			t.Errorf("%v, seed %#x: %d losses and %d wrong answers were found", c, c.seed, found.losses, found.wrong)
		}
	}
}
