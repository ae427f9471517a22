package export

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/pkg/errors"
)

// sizeUnits are the powers of 1024 in ascending order; the index is the exponent.
const sizeUnits = "BKMGTPE"

// ParseSize reads a number of bytes: "20GiB", "512M", "4096". Units are powers of 1024; a decimal "GB" is refused,
// because half of its writers mean the other thing.
func ParseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "BKMGTPEIbkmgtpei")
	unit := s[len(digits):]
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, errors.Errorf("%q is not a size; write a whole number and a unit, such as 20GiB, 512M or 4096", s)
	}
	exponent, err := parseUnit(digits, unit)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64>>(10*exponent) {
		return 0, errors.Errorf("%q is more than the largest file, 8EiB", s)
	}
	return n << (10 * exponent), nil
}

// parseUnit returns the power of 1024 that unit stands for.
func parseUnit(digits, unit string) (int, error) {
	upper := strings.ToUpper(unit)
	if upper == "" {
		return 0, nil
	}
	exponent := strings.IndexByte(sizeUnits, upper[0])
	switch {
	case exponent < 0:
	case len(upper) == 1, exponent > 0 && upper[1:] == "IB":
		return exponent, nil
	case exponent > 0 && upper[1:] == "B":
		return 0, errors.Errorf("unit %q can mean 1000 or 1024; write %s%ciB", unit, digits, upper[0])
	}
	return 0, errors.Errorf("%q is not a unit; write one of B K M G T P E, or KiB to EiB", unit)
}

// FormatSize writes n for people and for ParseSize: in the largest unit that divides it, else in bytes.
func FormatSize(n int64) string {
	exponent := 0
	for n != 0 && n%1024 == 0 && exponent < len(sizeUnits)-1 {
		n /= 1024
		exponent++
	}
	if exponent == 0 {
		return strconv.FormatInt(n, 10) + "B"
	}
	return fmt.Sprintf("%d%ciB", n, sizeUnits[exponent])
}
