package scale

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// limited runs a program with limits for descriptors, soft and hard.
func limited(soft, hard string) []string {
	return []string{"sh", "-c", "ulimit -Sn " + soft + " && ulimit -Hn " + hard + ` && exec "$@"`, "sh"}
}

// TestDescriptorLimits: the soft limit is raised, the hard one is an error when the exports do not fit, and a warning when
// their front-ends do not.
func TestDescriptorLimits(t *testing.T) {
	const exports = 100
	f := start(t, options{exports: exports, wrap: limited("200", "2000")})
	f.attachAll(t, 0, vhostusertest.Options{})
	f.detach(t)
	f.stop(t)
	if log := f.backend.Log(); log != "" {
		t.Errorf("it complains: %s", log)
	}

	f = start(t, options{exports: exports, wrap: limited("300", "300")})
	f.stop(t)
	if log := f.backend.Log(); !strings.Contains(log, "LimitNOFILE") || strings.Count(log, "\n") != 1 {
		t.Errorf("front-ends will not fit, and the log says %q", log)
	}

	argv := append(limited("200", "200"), vublk, "serve")
	for i := range exports {
		argv = append(argv, "--export=store=null:1MiB,socket-path="+t.TempDir()+"/s"+number(i))
	}
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "raise RLIMIT_NOFILE") {
		t.Errorf("%v, %s: want status 2 and the way out", err, out)
	}
}
