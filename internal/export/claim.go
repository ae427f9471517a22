package export

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
)

// claim is what an export uses and can share with no other, or with readers only.
type claim struct {
	name     string
	socket   string
	image    image
	disk     blk.Disk // that was given; nil: none
	readOnly bool
}

// image tells a file by what it is, not by how it is called: links and device nodes included.
type image struct{ dev, ino uint64 }

func claimOf(d *Definition) claim {
	c := claim{name: d.Name, readOnly: d.Disk.ReadOnly}
	switch s := d.Socket; {
	case s.FD >= 0:
		c.socket = "fd " + strconv.Itoa(s.FD)
	case s.Connect != "":
		c.socket = canonical(s.Connect)
	default:
		c.socket = canonical(s.Path)
	}
	var st unix.Stat_t
	if d.Disk.File == "" || unix.Stat(d.Disk.File, &st) != nil {
		return c // to open it will say what is wrong
	}
	c.image = image{dev: st.Dev, ino: st.Ino}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		c.image = image{dev: st.Rdev}
	}
	return c
}

// conflict says why c cannot be served beside other, or returns nil.
func (c claim) conflict(other claim, d *Definition) *OptionError {
	switch {
	case c.name == other.name:
		return &OptionError{Option: "name", Value: c.name, Reason: "two exports have this name", Remedy: "give one of them another name", Conflict: true}
	case c.socket == other.socket:
		return &OptionError{
			Option: d.Socket.option(), Value: d.Socket.whereMet(), Reason: "export " + other.name + " has this socket already",
			Remedy: "take another", Conflict: true,
		}
	case c.image != image{} && c.image == other.image && (!c.readOnly || !other.readOnly):
		return &OptionError{
			Option: "blk-file", Value: d.Disk.File, Reason: "export " + other.name + " serves the same image",
			Remedy: "make both read-only, or copy it", Conflict: true,
		}
	case same(c.disk, other.disk) && (!c.readOnly || !other.readOnly): // two devices do not know of each other's ranges and flushes
		return &OptionError{
			Option: "disk", Value: c.disk.Info().Name, Reason: "export " + other.name + " serves the same Disk", Remedy: "make both read-only",
		}
	}
	return nil
}
