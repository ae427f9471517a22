package daemon

import (
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/vublk/vublk/internal/export"
)

// maxName is the longest name of an export, in bytes.
const maxName = 255

// check finds what is wrong in a definition by itself, as a daemon sees it: it lives longer than a command line, and in another
// directory.
func check(d *export.Definition) error {
	if err := d.Validate(); err != nil {
		return err
	}
	if d.Socket.FD >= 0 {
		return &export.OptionError{
			Option: "fd", Value: strconv.Itoa(d.Socket.FD), Reason: "a daemon's exports inherit no descriptors", Remedy: "take a socket-path",
		}
	}
	for _, p := range places(d) {
		switch {
		case p.path == "":
		case !filepath.IsAbs(p.path):
			return &export.OptionError{
				Option: p.option, Value: p.path, Reason: "a relative path, and a daemon's directory is not yours", Remedy: "write it from / on",
			}
		case strings.ContainsRune(p.path, 0):
			return &export.OptionError{Option: p.option, Value: strconv.Quote(p.path), Reason: "there is a NUL in it", Remedy: "no path has one"}
		}
	}
	return checkName(d.Name)
}

// place is a path that a definition names.
type place struct{ option, path string }

func places(d *export.Definition) []place {
	return []place{{"socket-path", d.Socket.Path}, {"connect", d.Socket.Connect}, {"blk-file", d.Disk.File}}
}

// checkPlaces keeps images and sockets off the files that definitions are kept in.
func (d *Daemon) checkPlaces(def *export.Definition) error {
	for _, p := range places(def) {
		if p.path != "" && d.dir.Owns(p.path) {
			return &export.OptionError{
				Option: p.option, Value: p.path, Reason: "the daemon keeps its definitions in files of such names there", Remedy: "take another name, or another directory",
			}
		}
	}
	return nil
}

func checkName(name string) error {
	wrong := func(value, reason string) error {
		return &export.OptionError{Option: "name", Value: value, Reason: reason, Remedy: "take 1 to 255 bytes of UTF-8 without control characters"}
	}
	switch {
	case name == "":
		return wrong("", "missing")
	case len(name) > maxName:
		return wrong(name[:32]+"…", "it has "+strconv.Itoa(len(name))+" bytes")
	case !utf8.ValidString(name):
		return wrong(strconv.Quote(name), "it is not UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return wrong(strconv.Quote(name), "there is a control character in it")
	}
	return nil
}
