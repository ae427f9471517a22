package export

import (
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
)

// DefinitionVersion is the version of Definition that this program writes. It reads that one and all before it.
const DefinitionVersion = 1

// Definition is everything an operator decides about one export. It is plain data: it can be written as JSON, kept, and
// read by a later version of the program.
type Definition struct {
	Version int              `json:"version"`
	Name    string           `json:"name"`
	Socket  SocketDefinition `json:"socket"`
	Disk    DiskDefinition   `json:"disk"`
	Device  DeviceDefinition `json:"device"`
}

// SocketDefinition says where front-ends are met; exactly one field is set.
type SocketDefinition struct {
	Path    string `json:"path,omitempty"`    // listen here
	Connect string `json:"connect,omitempty"` // connect to the front-end that listens here, again and again
	FD      int    `json:"fd"`                // inherited descriptor, listening or connected; -1: none
}

// DiskDefinition says where the data is; exactly one of File and Store is set.
type DiskDefinition struct {
	File        string        `json:"file,omitempty"`
	Store       Store         `json:"store,omitzero"`
	ReadOnly    bool          `json:"read_only,omitempty"`
	Direct      bool          `json:"direct"`
	LockTimeout time.Duration `json:"lock_timeout_ns"`
	Incoming    bool          `json:"incoming,omitempty"`     // listen before the lock on the file is ours
	AllowShrink bool          `json:"allow_shrink,omitempty"` // a file that became smaller is served so; else refused
}

// DeviceDefinition says how the disk looks to the guest.
type DeviceDefinition struct {
	NumQueues         int                `json:"num_queues"`
	Cache             blk.CacheMode      `json:"cache"`
	FlushError        blk.FlushErrorMode `json:"flush_error"`
	ConfigWCE         bool               `json:"config_wce,omitempty"`
	LogicalBlockSize  uint32             `json:"logical_block_size"`
	PhysicalBlockSize uint32             `json:"physical_block_size,omitempty"` // 0: the Disk's own unit
	Serial            string             `json:"serial,omitempty"`              // "": made of Name
}

// NewDefinition returns the defaults, to which a socket and a disk must be added.
func NewDefinition() Definition {
	return Definition{
		Version: DefinitionVersion,
		Socket:  SocketDefinition{FD: -1},
		Disk:    DiskDefinition{Direct: true, LockTimeout: 60 * time.Second},
		Device:  DeviceDefinition{NumQueues: blk.MaxQueues, Cache: blk.CacheAuto, FlushError: blk.FlushErrorSticky, LogicalBlockSize: blk.SectorSize},
	}
}

// Decode reads a Definition from JSON. Fields it does not know are an error: they would be lost at the next write.
func Decode(b []byte) (Definition, error) {
	d := NewDefinition()
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return Definition{}, errors.Wrap(err, "read an export's definition")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Definition{}, errors.New("read an export's definition: something follows it")
	}
	return d, d.Validate()
}

// DefaultName is what an export without a name of its own is called: its socket's file name without the ending, or, on
// an inherited descriptor, its file's.
func (d *Definition) DefaultName() string {
	for _, path := range []string{d.Socket.Path, d.Socket.Connect, d.Disk.File} {
		if base := filepath.Base(path); path != "" && base != "/" && base != "." {
			if name := strings.TrimSuffix(base, filepath.Ext(base)); name != "" {
				return name
			}
			return base
		}
	}
	return d.Disk.Store.Kind
}

// withDefaults fills in what is derived from the rest.
func (d Definition) withDefaults() Definition {
	if d.Name == "" {
		d.Name = d.DefaultName()
	}
	return d
}
