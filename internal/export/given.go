package export

import (
	"log/slog"
	"net"
	"reflect"

	"github.com/vublk/vublk/blk"
)

// Given is what the program that embeds an export has made itself: what no Definition can say. Such an export ends with
// its process; no successor can resume it, and no other process can take it over.
type Given struct {
	// Disk takes the place of Definition.Disk.File and Store. It stays the caller's, who closes it when the export has ended.
	// A *blk.FileDisk is locked and given free like an image that the export has opened itself.
	Disk blk.Disk
	// Listener, when set, takes the place of Definition.Socket. It is the export's from CreateGiven on, also on an error.
	Listener *net.UnixListener
	// Log, when set, takes the place of the Registry's.
	Log *slog.Logger
}

// CreateGiven is Create with parts of the caller's own. d names neither a file nor a store, and with a Listener no socket.
func (r *Registry) CreateGiven(d Definition, g Given) (*Export, error) {
	e, err := r.createGiven(d, g)
	if err != nil && g.Listener != nil {
		_ = g.Listener.Close()
	}
	return e, err
}

func (r *Registry) createGiven(d Definition, g Given) (*Export, error) {
	if g.Listener != nil {
		d.Socket = SocketDefinition{Path: g.Listener.Addr().String(), FD: -1}
	}
	for _, check := range []func() *OptionError{d.checkVersion, d.checkSocket, d.checkNoDisk, d.checkDevice} {
		if e := check(); e != nil {
			return nil, e
		}
	}
	if g.Disk == nil {
		return nil, &OptionError{Option: "disk", Reason: "missing"}
	}
	d.Disk.ReadOnly = d.Disk.ReadOnly || g.Disk.Info().ReadOnly
	return r.create(d, g, nil)
}

// checkNoDisk is checkDisk where the Disk is the caller's.
func (d *Definition) checkNoDisk() *OptionError {
	if given := d.given("blk-file", "store"); len(given) > 0 {
		return &OptionError{Option: given[0].Key, Value: given[0].Get(d), Reason: "contradicts the Disk that is given", Remedy: "leave one out"}
	}
	return nil
}

// useGiven makes the given Disk a part. It tells whether there is one.
func (e *Export) useGiven() (file *blk.FileDisk, given bool) {
	if e.given.Disk == nil {
		return nil, false
	}
	e.parts.disk, e.parts.borrowed = e.given.Disk, true
	file, _ = e.given.Disk.(*blk.FileDisk)
	return file, true
}

// same tells whether two Disks are one. A type that Go cannot compare is nobody's pointer, and not known again.
func same(a, b blk.Disk) bool {
	return a != nil && b != nil && reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}
