package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker: -X github.com/vublk/vublk/internal/cli.version=v1.2.3
var version string

// Version describes this build: "v1.2.3 (go1.26.8, linux/amd64)".
func Version() string {
	v := version
	if info, ok := debug.ReadBuildInfo(); ok && v == "" {
		v = info.Main.Version
	}
	if v == "" || v == "(devel)" {
		v = "development"
	}
	return fmt.Sprintf("%s (%s, %s/%s)", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
