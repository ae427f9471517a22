package vhostuser

import (
	"slices"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio/guestmem"
)

// maxMemory is the most guest memory that a session maps. All sessions share the 128 TiB of this process's address
// space, and the size of a sparse file costs a front-end nothing.
const maxMemory = 16 << 40

// checkSize refuses guest memory of more than maxMemory.
func checkSize(infos []guestmem.RegionInfo) error {
	left := uint64(maxMemory)
	for _, i := range infos {
		if i.Size > left {
			return errors.Errorf("guest memory of more than %d TiB", maxMemory>>40)
		}
		left -= i.Size
	}
	return nil
}

// memory is the guest's memory as the front-end last described it. It outlives everything but the connection.
type memory struct {
	table *guestmem.Table // nil before the first message; holds the only references to its regions that we have
	files map[*guestmem.Region]*sys.FD
}

// regions returns what is mapped, in a slice of its own.
func (m *memory) regions() []*guestmem.Region {
	if m.table == nil {
		return nil
	}
	return slices.Clone(m.table.Regions())
}

// setMemTable replaces all regions, also while rings run.
func (s *Session) setMemTable(m *message) ([]byte, error) {
	infos, ok := decodeMemTable(m.payload)
	if !ok {
		return nil, errors.Errorf("payload of %d bytes does not fit its number of regions", m.size)
	}
	if len(m.fds) != len(infos) {
		return nil, errors.Errorf("%d descriptors for %d regions", len(m.fds), len(infos))
	}
	if err := checkSize(infos); err != nil {
		return nil, err
	}
	regions, files := make([]*guestmem.Region, 0, len(infos)), map[*guestmem.Region]*sys.FD{}
	defer func() { // the table holds its own references
		for _, r := range regions {
			r.Close()
		}
	}()
	for i, info := range infos {
		r, err := guestmem.Map(m.fds[i].Int(), info)
		if err != nil {
			return nil, err
		}
		regions = append(regions, r)
		files[r] = m.fds[i]
	}
	if err := s.adopt(regions, files); err != nil {
		return nil, err
	}
	for i := range infos {
		m.takeFD(i)
	}
	return nil, nil
}

func (s *Session) getMaxMemSlots(*message) ([]byte, error) {
	return appendU64(s.scratch[:0], uint64(s.opts.MemSlots)), nil
}

func (s *Session) addMemReg(m *message) ([]byte, error) {
	info := decodeRegion(m.payload[8:])
	regions := s.memory.regions()
	if s.again {
		regions = slices.DeleteFunc(regions, func(r *guestmem.Region) bool { return r.Info() == info })
	}
	if len(regions) >= s.opts.MemSlots {
		return nil, errors.Errorf("all %d memory slots are in use", s.opts.MemSlots)
	}
	infos := []guestmem.RegionInfo{info}
	for _, r := range regions {
		infos = append(infos, r.Info())
	}
	if err := checkSize(infos); err != nil {
		return nil, err
	}
	r, err := guestmem.Map(m.fds[0].Int(), info)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := s.adopt(append(regions, r), map[*guestmem.Region]*sys.FD{r: m.fds[0]}); err != nil {
		return nil, err
	}
	m.takeFD(0)
	return nil, nil
}

// remMemReg removes the region of that address and size; the offset does not take part, and a descriptor that came
// along is closed (vhost-user, VHOST_USER_REM_MEM_REG).
func (s *Session) remMemReg(m *message) ([]byte, error) {
	info := decodeRegion(m.payload[8:])
	regions := s.memory.regions()
	i := slices.IndexFunc(regions, func(r *guestmem.Region) bool {
		have := r.Info()
		return have.GPA == info.GPA && have.UserAddr == info.UserAddr && have.Size == info.Size
	})
	if i < 0 {
		if s.again {
			return nil, nil
		}
		return nil, errors.Errorf("no region gpa=%#x uva=%#x size=%#x", info.GPA, info.UserAddr, info.Size)
	}
	return nil, s.adopt(slices.Delete(regions, i, i+1), nil)
}

// adopt makes a table of regions the guest's memory. When it returns, every worker uses it; the ack follows. What was
// only in the old table is unmapped when the last request fetched under it is done. files are those of new regions, which
// the session owns from then on: for a successor.
func (s *Session) adopt(regions []*guestmem.Region, files map[*guestmem.Region]*sys.FD) error {
	t, err := guestmem.NewTable(regions...)
	if err != nil {
		return err
	}
	if err := s.dev.SetMemory(t); err != nil {
		t.Release()
		return fatalError{errors.Wrap(err, "adopt the memory table")}
	}
	if old := s.memory.table; old != nil {
		old.Release()
	}
	s.memory.table = t
	had := s.memory.files
	s.memory.files = map[*guestmem.Region]*sys.FD{}
	for _, r := range regions {
		if f := files[r]; f != nil {
			s.memory.files[r] = f
		} else {
			s.memory.files[r] = had[r]
			delete(had, r)
		}
	}
	for _, f := range had {
		_ = f.Close()
	}
	return nil
}

// dropMemory makes the device let go of the guest's memory, at the end of the session.
func (s *Session) dropMemory() error {
	if s.memory.table == nil {
		return nil
	}
	err := s.adopt(nil, nil)
	s.memory.table.Release() // the empty table, or the last one when the device failed
	s.memory.table = nil
	for _, f := range s.memory.files { // the device has failed
		_ = f.Close()
	}
	s.memory.files = nil
	return err
}
