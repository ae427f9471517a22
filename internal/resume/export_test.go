package resume

import "time"

// SetPatience is how long Barrier waits.
func (h *Holder) SetPatience(d time.Duration) { h.patience = d }
