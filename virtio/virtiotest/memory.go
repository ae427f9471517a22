package virtiotest

import (
	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio/guestmem"
)

// Memory is a guest's RAM, a memfd per region. Its methods that allocate or map belong to one goroutine.
type Memory struct {
	regions []*region
}

type region struct {
	info guestmem.RegionInfo
	fd   *sys.FD
	ram  []byte // our own mapping, from the region's first byte
	file []byte // the whole mapping, from the file's first byte
	next uint64 // bump allocator
}

// RAM describes a region of size bytes as a small machine has it: guest-physical, front-end and file addresses all
// differ, so that none is taken for another unnoticed.
func RAM(size uint64) guestmem.RegionInfo {
	return guestmem.RegionInfo{GPA: 0x10_0000, Size: size, UserAddr: 0x7f5a_0000_0000}
}

// NewMemory makes the memfds of the regions described and maps them.
func NewMemory(regions ...guestmem.RegionInfo) (*Memory, error) {
	m := &Memory{}
	for _, info := range regions {
		if err := m.add(info); err != nil {
			_ = m.Close()
			return nil, err
		}
	}
	return m, nil
}

func (m *Memory) add(info guestmem.RegionInfo) error {
	fd, err := sys.Memfd("virtiotest", int64(info.Offset+info.Size))
	if err != nil {
		return err
	}
	file, err := unix.Mmap(fd.Int(), 0, int(info.Offset+info.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		_ = fd.Close()
		return errors.Wrap(err, "map guest memory")
	}
	m.regions = append(m.regions, &region{info: info, fd: fd, file: file, ram: file[info.Offset:]})
	return nil
}

// Close unmaps the memory and closes its descriptors.
func (m *Memory) Close() error {
	var first error
	for _, r := range m.regions {
		for _, err := range []error{unix.Munmap(r.file), r.fd.Close()} {
			if first == nil {
				first = err
			}
		}
	}
	m.regions = nil
	return first
}

// Regions returns what a front-end tells a back-end of each region; FD returns the descriptor that goes with it.
func (m *Memory) Regions() []guestmem.RegionInfo {
	infos := make([]guestmem.RegionInfo, len(m.regions))
	for i, r := range m.regions {
		infos[i] = r.info
	}
	return infos
}

// FD returns the descriptor of region i, which stays the memory's.
func (m *Memory) FD(i int) int { return m.regions[i].fd.Int() }

// Truncate resizes the file of region i behind everybody's back. Not to be undone: what is cut off is gone.
func (m *Memory) Truncate(i int, size int64) error {
	return errors.Wrap(unix.Ftruncate(m.FD(i), size), "truncate guest memory")
}

// Table maps the memory a second time, as a back-end does. The caller releases it.
func (m *Memory) Table() (*guestmem.Table, error) {
	regions := make([]*guestmem.Region, 0, len(m.regions))
	defer func() {
		for _, r := range regions {
			r.Close()
		}
	}()
	for _, r := range m.regions {
		mapped, err := guestmem.Map(r.fd.Int(), r.info)
		if err != nil {
			return nil, err
		}
		regions = append(regions, mapped)
	}
	return guestmem.NewTable(regions...)
}

// Alloc takes n bytes, aligned for the guest, from the first region that has room.
func (m *Memory) Alloc(n, align uint64) (guestmem.GPA, error) {
	for i := range m.regions {
		if gpa, err := m.AllocIn(i, n, align); err == nil {
			return gpa, nil
		}
	}
	return 0, errors.Errorf("no room for %d bytes in guest memory", n)
}

// AllocIn takes n bytes, aligned for the guest, from region i. Nothing is ever given back.
func (m *Memory) AllocIn(i int, n, align uint64) (guestmem.GPA, error) {
	r := m.regions[i]
	pad := -(uint64(r.info.GPA) + r.next) & (align - 1)
	if left := r.info.Size - r.next; pad > left || n > left-pad {
		return 0, errors.Errorf("no room for %d bytes in region %d", n, i)
	}
	r.next += pad
	gpa := r.info.GPA + guestmem.GPA(r.next)
	r.next += n
	return gpa, nil
}

// Bytes returns guest memory, nil when [gpa, gpa+n) is not within one region.
func (m *Memory) Bytes(gpa guestmem.GPA, n uint64) []byte {
	for _, r := range m.regions {
		off := uint64(gpa - r.info.GPA)
		if off < r.info.Size && n <= r.info.Size-off {
			return r.ram[off : off+n : off+n]
		}
	}
	return nil
}

// Write copies b to guest memory, over the borders of adjacent regions. It returns how much there was room for.
func (m *Memory) Write(gpa guestmem.GPA, b []byte) int {
	return m.copy(gpa, len(b), func(ram []byte, at int) int { return copy(ram, b[at:]) })
}

// Read copies guest memory to b, over the borders of adjacent regions. It returns how much was there.
func (m *Memory) Read(gpa guestmem.GPA, b []byte) int {
	return m.copy(gpa, len(b), func(ram []byte, at int) int { return copy(b[at:], ram) })
}

func (m *Memory) copy(gpa guestmem.GPA, n int, move func(ram []byte, at int) int) int {
	done := 0
	for done < n {
		r := m.regionOf(gpa + guestmem.GPA(done))
		if r == nil {
			break
		}
		done += move(r.ram[gpa+guestmem.GPA(done)-r.info.GPA:], done)
	}
	return done
}

func (m *Memory) regionOf(gpa guestmem.GPA) *region {
	for _, r := range m.regions {
		if uint64(gpa-r.info.GPA) < r.info.Size {
			return r
		}
	}
	return nil
}

// VA returns the front-end's address of guest memory, 0 when there is none.
func (m *Memory) VA(gpa guestmem.GPA) guestmem.FrontendVA {
	if r := m.regionOf(gpa); r != nil {
		return r.info.UserAddr + guestmem.FrontendVA(gpa-r.info.GPA)
	}
	return 0
}

// host returns our own address of guest memory, 0 when there is none.
func (m *Memory) host(gpa guestmem.GPA) uint64 {
	if r := m.regionOf(gpa); r != nil {
		return addressOf(r.ram) + uint64(gpa-r.info.GPA)
	}
	return 0
}
