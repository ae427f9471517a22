package blk

import "github.com/pkg/errors"

// Resize looks at the Disk's Info again and makes its Size the capacity of the device, also while queues run. It returns
// the size that the device had and the one that the Disk has, in bytes; whoever drives the device then tells the driver
// (a vhost-user session: ConfigChanged). Any goroutine may call it.
//
// A larger Disk is adopted when it is a whole number of blocks. A smaller one is refused: its driver would lose data
// without a word. With force it is adopted, and requests beyond the new end get IOERR; those in flight end as they end,
// which for a write to a file may be that the file grows again. After an error the device has the size it had.
func (d *Device) Resize(force bool) (had, has int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	info := d.disk.Info()
	had, has = int64(d.capacity.Load())*SectorSize, info.Size
	unit := max(d.unit, int64(d.opt.LogicalBlockSize))
	switch {
	case has <= 0:
		err = errors.Errorf("%s is empty now: give it back its %d bytes", info.Name, had)
	case has%unit != 0:
		err = errors.Errorf("%s has %d bytes now, which is not a whole number of blocks of %d bytes: grow it to %d bytes; the guest goes on with %d",
			info.Name, has, unit, roundUp(has, unit), had)
	case has < had && !force:
		err = errors.Errorf("%s has %d bytes now, the guest knows %d: give it back its size, or restart vublk, which then serves the smaller one (--allow-shrink does so without a restart)",
			info.Name, has, had)
	}
	if err != nil {
		return had, has, err
	}
	// Requests look at it once each, when they are checked. The Disk has its new end already.
	d.capacity.Store(uint64(has) / SectorSize)
	return had, has, nil
}

// Capacity is what the driver is told, in bytes. Any goroutine may call it.
func (d *Device) Capacity() int64 { return int64(d.capacity.Load()) * SectorSize }
