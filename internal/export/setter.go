package export

import (
	"strconv"
	"strings"
	"time"

	"github.com/vublk/vublk/blk"
)

// setter reads a value into a Definition, or returns why it cannot and what to write instead.
type setter func(d *Definition, value string) (reason, remedy string)

func setText(field func(*Definition) *string) setter {
	return func(d *Definition, value string) (reason, remedy string) {
		if value == "" || strings.ContainsRune(value, 0) {
			return "must not be empty", ""
		}
		*field(d) = value
		return "", ""
	}
}

func setBool(field func(*Definition) *bool) setter {
	return func(d *Definition, value string) (reason, remedy string) {
		switch value {
		case "on", "true":
			*field(d) = true
		case "off", "false":
			*field(d) = false
		default:
			return "is neither on nor off", ""
		}
		return "", ""
	}
}

func setBlockSize(field func(*Definition) *uint32) setter {
	return func(d *Definition, value string) (reason, remedy string) {
		n, err := ParseSize(value)
		if err != nil {
			return err.Error(), ""
		}
		if n < blk.SectorSize || n > blk.MaxBlockSize || n&(n-1) != 0 {
			return "not a block size", "take a power of two from 512 to " + strconv.Itoa(blk.MaxBlockSize)
		}
		*field(d) = uint32(n)
		return "", ""
	}
}

func setFD(d *Definition, value string) (reason, remedy string) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return "not a descriptor", "write the number of an inherited socket, such as 3"
	}
	d.Socket.FD = int(n)
	return "", ""
}

func setQueues(d *Definition, value string) (reason, remedy string) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > blk.MaxQueues {
		return "not a number of queues", "take 1 to " + strconv.Itoa(blk.MaxQueues)
	}
	d.Device.NumQueues = n
	return "", ""
}

func setCache(d *Definition, value string) (reason, remedy string) {
	mode, err := blk.ParseCacheMode(value)
	if err != nil {
		return "not a cache mode", "take auto, writeback, writethrough or unsafe"
	}
	d.Device.Cache = mode
	return "", ""
}

func setFlushError(d *Definition, value string) (reason, remedy string) {
	mode, err := blk.ParseFlushErrorMode(value)
	if err != nil {
		return "not a way to treat a failed flush", "take sticky or retry"
	}
	d.Device.FlushError = mode
	return "", ""
}

func setStore(d *Definition, value string) (reason, remedy string) {
	store, err := ParseStore(value)
	if err != nil {
		return err.Error(), ""
	}
	d.Disk.Store = store
	return "", ""
}

func setTimeout(d *Definition, value string) (reason, remedy string) {
	timeout, err := time.ParseDuration(value)
	if err != nil || timeout < 0 {
		return "not a duration", "write 60s, 2m or 0"
	}
	d.Disk.LockTimeout = timeout
	return "", ""
}

func setSerial(d *Definition, value string) (reason, remedy string) {
	if value == "" || len(value) > blk.MaxSerial || !printable(value) {
		return "not a serial number", "take 1 to 20 visible ASCII characters"
	}
	d.Device.Serial = value
	return "", ""
}

// printable tells whether s is of visible ASCII characters and inner spaces only.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return strings.TrimSpace(s) == s
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func optionalInt(n int) string {
	if n < 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func optionalSize(n uint32) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(n), 10)
}

// seconds writes 60s, not 1m0s.
func seconds(d time.Duration) string {
	if d%time.Second != 0 {
		return d.String()
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}
