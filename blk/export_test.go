package blk

// WriteThrough tells tests which durability was decided on.
func (d *Device) WriteThrough() bool { return d.stable.Load() }
