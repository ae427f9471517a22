package export

import "testing"

func TestProcess(t *testing.T) {
	for want, got := range map[string]string{
		"pid 4711, uid 1000":               Process(4711, 1000),
		"pid of another namespace, uid 64": Process(0, 64),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
