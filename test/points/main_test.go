package points

import (
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/apart"
	"github.com/vublk/vublk/test/e2e/guest"
)

// vublk is the program under test, built with crash points.
var vublk string

func TestMain(m *testing.M) {
	apart.Run()
	leaktest.MainAfter(m, func() (err error) {
		vublk, err = guest.BuildHere("vublk-crashpoint", "./cmd/vublk", "-tags=crashpoint")
		return err
	})
}
