package blk

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockHolder names the processes that hold OFD locks on the file behind fd, "" when there are none to be seen. F_OFD_GETLK
// cannot tell (it answers pid -1), but /proc/PID/fdinfo/N lists the locks of each open file description
// (proc_pid_fdinfo(5)).
func lockHolder(fd int) string {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "an unknown process"
	}
	inode := fmt.Sprintf(":%d ", st.Ino)
	infos, _ := filepath.Glob("/proc/[0-9]*/fdinfo")
	var holders []string
	for _, dir := range infos {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		if err == nil && holdsLock(dir, inode, fd, pid == os.Getpid()) {
			holders = append(holders, fmt.Sprintf("%s (pid %d)", processName(pid), pid))
		}
	}
	if len(holders) == 0 {
		return ""
	}
	return strings.Join(holders, ", ")
}

// holdsLock looks for an OFD lock on the inode below one fdinfo directory; in our own, fd itself does not count.
func holdsLock(dir, inode string, fd int, self bool) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false // gone, or not ours to read
	}
	for _, e := range entries {
		if self && e.Name() == strconv.Itoa(fd) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "lock:") && strings.Contains(line, "OFDLCK") && strings.Contains(line, inode) {
				return true
			}
		}
	}
	return false
}

func processName(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "a process"
	}
	return strings.TrimSpace(string(b))
}
