package points

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/vublk/vublk/blk"
)

// TestStopBetweenWorkers: SIGTERM comes while no worker is alive, and the dead one had taken a request from the guest. One more
// worker finishes that, and then everything ends as in any other stop.
func TestStopBetweenWorkers(t *testing.T) {
	const deaths = 6 // at their start; then there is a pause of 320 ms
	formats(t, func(t *testing.T, packed bool) {
		l := begin(t, plan{packed: packed, points: append([]string{"request-recorded"}, strings.Split(strings.Repeat("heritage-taken ", deaths), " ")[:deaths]...)})
		l.attach()
		q, r := l.queues[0], request(blk.RequestOut, 0, 0)
		copy(q.Data(0, r), content(0, 0, 1))
		l.must(q.Submit(0, r))
		_, err := l.back.AwaitLog(regexp.MustCompile(`pause=320ms`), 1)
		l.must(err)
		l.must(l.back.Stop())
		if _, ok, err := q.Reap(); !ok || err != nil {
			t.Errorf("the request is not completed: %v", err)
		}
		if !l.hungUp() {
			t.Error("the connection is still there")
		}
		if _, err := os.Lstat(l.socket); !os.IsNotExist(err) {
			t.Errorf("the socket's name is still there: %v", err)
		}
		disk, err := os.ReadFile(l.image)
		l.must(err)
		if !bytes.Equal(disk[:pageSize], content(0, 0, 1)) {
			t.Error("the image does not have what was written")
		}
		if got := l.deaths(); got != 1+deaths {
			t.Errorf("%d deaths, want %d", got, 1+deaths)
		}
	})
}
