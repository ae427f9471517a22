package guest

import "regexp"

var complaints = regexp.MustCompile(`(?i)[^\n]*(I/O error|blocked for more than|EXT4-fs (error|warning)|JBD2[^\n]*(error|abort)|remount|stall|timed? ?out)[^\n]*`)

// Complaints are the lines in which a kernel's log tells of a disk that does not work.
func Complaints(dmesg string) []string { return complaints.FindAllString(dmesg, -1) }
