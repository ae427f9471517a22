package lock

import (
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// vublk is the program under test.
var vublk string

const mib = 1 << 20

func TestMain(m *testing.M) {
	leaktest.MainAfter(m, func() (err error) {
		vublk, err = guest.BuildVublk()
		return err
	})
}
