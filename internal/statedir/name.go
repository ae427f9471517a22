package statedir

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	ending    = ".export"
	temporary = ".new-"
	damaged   = ".damaged-"
	lockFile  = "lock"

	// maxEscaped leaves room for what stands around a name in NAME_MAX (255) bytes.
	maxEscaped = 180
)

// fileName is the name of the file for a value.
func fileName(name string) string { return escape(name) + ending }

// escape writes a name with letters, digits, "-" and "_", and with "." but not in front; anything else as %XX.
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	text := b.String()
	if len(text) <= maxEscaped {
		return text
	}
	sum := sha256.Sum256([]byte(name))
	return text[:maxEscaped-40] + "~" + hex.EncodeToString(sum[:16]) // "~" is in no other name
}
