package guest

import (
	"regexp"
	"slices"
)

// HungTask has a guest's kernel complain of a process that waits for a disk half as long as it usually may: that is no disk
// which is only slow. Less would be in the reach of one commit of a journal on a busy machine.
const HungTask = "echo 60 >/proc/sys/kernel/hung_task_timeout_secs"

var (
	complaints = regexp.MustCompile(`(?i)[^\n]*(I/O error|blocked for more than|EXT4-fs (error|warning)|JBD2[^\n]*(error|abort)|remount|stall|timed? ?out)[^\n]*`)
	// ofCPUs are lines of RCU's, behind the time: it sees stalls when the host does not run a CPU of the guest's.
	ofCPUs = regexp.MustCompile(`^(\[[^\]\n]*\] *)?rcu:`)
)

// Complaints are the lines in which a kernel's log tells of a disk that does not work.
func Complaints(dmesg string) []string {
	return slices.DeleteFunc(complaints.FindAllString(dmesg, -1), ofCPUs.MatchString)
}
