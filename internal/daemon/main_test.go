package daemon

import (
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
