package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version describes this build: "v1.2.3 (go1.26.8, linux/amd64)". v is what the linker set in package main, or empty.
func Version(v string) string {
	if info, ok := debug.ReadBuildInfo(); ok && v == "" {
		v = info.Main.Version
	}
	if v == "" || v == "(devel)" {
		v = "development"
	}
	return fmt.Sprintf("%s (%s, %s/%s)", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
