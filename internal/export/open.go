package export

import (
	"os"
	"path/filepath"
	"strconv"

	"github.com/vublk/vublk/blk"
)

// openDisk makes the parts but for the socket: the disk with its lock, the device on it. On an error some of them are
// there, for parts.close.
func (e *Export) openDisk() error {
	p := &e.parts
	file, given := e.useGiven()
	switch store := e.def.Disk.Store; {
	case given:
	case store.Kind == storeNull:
		p.disk = blk.NewNull(store.Size)
	case store.Kind == storeMem:
		mem, err := blk.NewMem(store.Size)
		if err != nil {
			return err
		}
		p.disk = mem
	default:
		var err error
		if file, err = e.openFile(); err != nil {
			return err
		}
	}
	p.info = p.disk.Info()
	d, dev := e.def.Disk, e.def.Device
	unlocked := file != nil && !file.Locked()
	device, err := e.pool.NewDevice(p.disk, blk.DeviceOptions{
		Name: e.def.Name, NumQueues: dev.NumQueues, ReadOnly: d.ReadOnly,
		LogicalBlockSize: dev.LogicalBlockSize, PhysicalBlockSize: dev.PhysicalBlockSize,
		Serial: dev.Serial, Cache: dev.Cache, FlushError: dev.FlushError, ConfigWCE: dev.ConfigWCE, Held: unlocked,
		Log: e.log, Fail: e.fail,
	})
	if err != nil {
		return err
	}
	p.device = device
	e.counted.device.Store(device)
	if file != nil {
		p.gate = newGate(device, file, !unlocked, e.fail)
		p.gate.log, p.gate.changed, p.sizes = e.log, e.configChanged, &p.gate.sizes
	} else if given {
		p.sizes = &sizer{device: device}
	}
	if p.sizes != nil {
		p.sizes.allowShrink = d.AllowShrink
	}
	return nil
}

// openFile opens the image that the definition names, with its lock unless that comes later.
func (e *Export) openFile() (file *blk.FileDisk, err error) {
	d := e.def.Disk
	defer func() {
		if err != nil {
			err = &HostError{Option: "blk-file", Value: d.File, Err: err}
		}
	}()
	// An image comes with its lock from a live process, or was not that one's either: given free, or not its own yet.
	incoming := (d.Incoming || e.takeOver != nil) && e.heritage[kindImage] == nil
	image, claim := e.heritage.take(kindImage), e.heritage.take(kindClaim)
	file, err = blk.OpenFile(e.ctx, d.File, blk.FileOptions{
		Image: image.Disown(), Claim: claim.Disown(), Adopt: image != nil,
		ReadOnly: d.ReadOnly, Buffered: !d.Direct, Identity: e.identity(),
		LockTimeout: d.LockTimeout, Unlocked: incoming, Log: e.log,
	})
	if err != nil {
		return nil, err
	}
	e.parts.disk = file
	if !incoming { // else the gate looks when it has the lock
		err = file.Changed() // while we waited
	}
	return file, err
}

// calls brings operators; without a socket there are none.
func (p *parts) calls() <-chan *call {
	if p.socket == nil {
		return nil
	}
	return p.socket.calls()
}

// close releases the parts in the opposite order: nobody is let in, nothing runs, the lock goes last. It returns the
// first error.
func (p *parts) close() error {
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	if p.socket != nil {
		note(p.socket.close())
	}
	if p.gate != nil {
		p.gate.release()
	}
	if p.sizes != nil {
		p.sizes.close()
	}
	if p.device != nil {
		note(p.device.Close())
	}
	if p.disk != nil && !p.borrowed {
		note(p.disk.Close())
	}
	return first
}

// identity is what a successor of this export has in common with it, and with no other export: its socket. The lock of
// the image uses it to wait for the last I/O of a killed predecessor.
func (e *Export) identity() string {
	s := e.def.Socket
	path := s.Path
	if s.FD >= 0 {
		path = socketName(s.FD)
	}
	if s.Connect != "" {
		path = s.Connect
	}
	if path == "" && e.holder.Supervised() { // a socket pair that the supervisor's next child has, too
		return "supervisor " + strconv.Itoa(os.Getppid()) + " fd " + strconv.Itoa(s.FD)
	}
	if path == "" { // a socket pair: its front-end cannot come back
		return "pid " + strconv.Itoa(os.Getpid()) + " fd " + strconv.Itoa(s.FD)
	}
	return "socket " + canonical(path)
}

// canonical is an absolute path without symbolic links in its directory.
func canonical(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		return filepath.Join(dir, filepath.Base(abs))
	}
	return abs
}

// whereMet describes where front-ends are met, for messages.
func (s SocketDefinition) whereMet() string {
	switch {
	case s.FD >= 0:
		return "fd " + strconv.Itoa(s.FD)
	case s.Connect != "":
		return s.Connect
	}
	return s.Path
}

// option is what says so.
func (s SocketDefinition) option() string {
	switch {
	case s.FD >= 0:
		return "fd"
	case s.Connect != "":
		return "connect"
	}
	return "socket-path"
}
