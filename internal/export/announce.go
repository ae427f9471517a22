package export

import "github.com/vublk/vublk/blk"

// announce logs what is served and where, then that front-ends may come.
func (e *Export) announce() {
	d := &e.def
	mode, why := e.mode()
	e.log.Info("serving",
		"socket", d.Socket.whereMet(), "file", e.parts.info.Name, "size", FormatSize(e.parts.info.Size),
		"mode", mode, "why", why)
	if d.Device.Cache == blk.CacheUnsafe {
		e.log.Warn("cache=unsafe: flushes do nothing, a power cut loses data that the guest believes to be safe")
	}
	e.log.Info(e.parts.socket.kind(), "socket", d.Socket.whereMet())
}

// mode says how safe a completed write is, and what decided that.
func (e *Export) mode() (mode, why string) {
	d, info := &e.def, &e.parts.info
	switch {
	case d.Disk.ReadOnly || info.ReadOnly:
		return "read-only", "read-only=on"
	case d.Device.Cache != blk.CacheAuto:
		return string(d.Device.Cache), "cache=" + string(d.Device.Cache)
	case info.VolatileCache:
		return string(blk.CacheWriteback), "cache=auto; completed writes need a flush, so flushes become fdatasync"
	}
	return string(blk.CacheWritethrough), "cache=auto; the device has no volatile write cache, so flushes are not offered"
}
