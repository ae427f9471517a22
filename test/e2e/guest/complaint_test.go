package guest

import (
	"slices"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// TestComplaints: each line that tells of a disk is found, and none of a CPU that the host did not run.
func TestComplaints(t *testing.T) {
	disk := []string{
		"[   81.402817] I/O error, dev vda, sector 2048 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2",
		"[  123.000001] INFO: task jbd2/vda-8:123 blocked for more than 60 seconds.",
		"EXT4-fs warning (device vda): ext4_end_bio:343: I/O error 10 writing to inode 12",
		"[    9.100000] virtio_blk virtio0: rcu: request timed out",
	}
	log := "[    1.000000] rcu: Hierarchical RCU implementation.\n" + disk[0] + "\n" +
		"[   60.000000] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n" + disk[1] + "\n" +
		"rcu: INFO: rcu_sched self-detected stall on CPU\n" + disk[2] + "\n" +
		"[   60.000001] EXT4-fs (vda): mounted filesystem with ordered data mode\n" + disk[3] + "\n"
	if got := Complaints(log); !slices.Equal(got, disk) {
		t.Errorf("%q, want %q", got, disk)
	}
}
