package export

import (
	"fmt"
	"strconv"

	"github.com/vublk/vublk/blk"
)

// maxSocketPath is the longest path of a Unix socket: sun_path has 108 bytes, the last is NUL (unix(7)).
const maxSocketPath = 107

// Validate finds what is wrong in a Definition without looking at files or sockets. It returns the first problem, as an
// *OptionError.
func (d *Definition) Validate() error {
	checks := []func() *OptionError{d.checkVersion, d.checkSocket, d.checkDisk, d.checkDevice}
	for _, check := range checks {
		if e := check(); e != nil {
			return e
		}
	}
	return nil
}

func (d *Definition) checkVersion() *OptionError {
	if d.Version < 1 || d.Version > DefinitionVersion {
		return &OptionError{
			Option: "version", Value: strconv.Itoa(d.Version),
			Reason: fmt.Sprintf("this program reads definitions up to version %d", DefinitionVersion), Remedy: "use a newer vublk",
		}
	}
	return nil
}

func (d *Definition) checkSocket() *OptionError {
	given := d.given("socket-path", "fd", "connect")
	switch len(given) {
	case 0:
		return &OptionError{Option: "socket-path", Reason: "missing", Remedy: "say where front-ends connect: socket-path, fd or connect"}
	case 1:
	default:
		return contradiction(given)
	}
	for _, o := range given {
		if path := o.Get(d); o.Key != "fd" && len(path) > maxSocketPath {
			return &OptionError{
				Option: o.Key, Value: path, Reason: fmt.Sprintf("the path has %d bytes, a Unix socket's has at most %d", len(path), maxSocketPath),
				Remedy: "take a shorter or a relative one",
			}
		}
	}
	return nil
}

func (d *Definition) checkDisk() *OptionError {
	given := d.given("blk-file", "store")
	switch {
	case len(given) == 0:
		return &OptionError{Option: "blk-file", Reason: "missing", Remedy: "say what to serve: blk-file, or store for a test"}
	case len(given) > 1:
		return contradiction(given)
	case d.Disk.Incoming && d.Disk.File == "":
		return &OptionError{Option: "incoming", Reason: "there is no lock to wait for on a store", Remedy: "leave it out, or serve a blk-file"}
	case d.Disk.Incoming && d.Disk.ReadOnly:
		return &OptionError{Option: "incoming", Reason: "contradicts read-only: readers share the file", Remedy: "leave one out"}
	}
	size := int64(d.Device.LogicalBlockSize)
	if store := d.Disk.Store; size > 0 && store.Size%size != 0 {
		return &OptionError{
			Option: "store", Value: store.String(), Reason: fmt.Sprintf("not a whole number of logical blocks of %d bytes", size),
			Remedy: "take " + FormatSize(roundUp(store.Size, size)),
		}
	}
	return nil
}

func (d *Definition) checkDevice() *OptionError {
	dev := &d.Device
	// What was read from text went through the setters; JSON did not.
	values := []struct{ key, value string }{
		{"num-queues", strconv.Itoa(dev.NumQueues)},
		{"cache", string(dev.Cache)},
		{"flush-error", string(dev.FlushError)},
		{"logical-block-size", strconv.FormatUint(uint64(dev.LogicalBlockSize), 10)},
		{"physical-block-size", optionalSize(dev.PhysicalBlockSize)},
		{"serial", dev.Serial},
	}
	scratch := *d
	for _, v := range values {
		o, err := lookUp(v.key)
		if err != nil || v.value == "" && v.key != "cache" && v.key != "flush-error" {
			continue
		}
		if reason, remedy := o.set(&scratch, v.value); reason != "" {
			return &OptionError{Option: v.key, Value: v.value, Reason: reason, Remedy: remedy}
		}
	}
	switch {
	case dev.PhysicalBlockSize != 0 && dev.PhysicalBlockSize < dev.LogicalBlockSize:
		return &OptionError{
			Option: "physical-block-size", Value: optionalSize(dev.PhysicalBlockSize),
			Reason: fmt.Sprintf("smaller than the logical block size (%d)", dev.LogicalBlockSize), Remedy: "take a larger one, or leave it out",
		}
	case dev.ConfigWCE && dev.Cache == blk.CacheWritethrough:
		return &OptionError{
			Option: "config-wce", Reason: "contradicts cache=writethrough, which leaves the guest no cache to switch",
			Remedy: "leave one out",
		}
	}
	return nil
}

// given lists the options among keys that have a value.
func (d *Definition) given(keys ...string) []Option {
	var options []Option
	for _, key := range keys {
		if o, err := lookUp(key); err == nil && o.Get(d) != "" {
			options = append(options, o)
		}
	}
	return options
}

func contradiction(given []Option) *OptionError {
	return &OptionError{Option: given[1].Key, Reason: "contradicts " + given[0].Key, Remedy: "leave one of them out"}
}

func roundUp(n, unit int64) int64 {
	return (n + unit - 1) / unit * unit
}
