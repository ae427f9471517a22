package guest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/pkg/errors"
)

// Image is a raw disk image as the host sees it: the check of what a guest did goes through other programs than vublk.
type Image struct {
	Path   string
	Offset int64 // of the ext4 file system: the start of a partition that goes to the end
}

// Host runs a program of the host and returns its standard output.
func Host(name string, args ...string) (string, error) {
	return HostInput("", name, args...)
}

// HostInput is Host with a standard input.
func HostInput(input, name string, args ...string) (string, error) {
	path, err := lookTool(name)
	if err != nil {
		return "", err
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", errors.Wrapf(err, "%s %s: %s%s", name, strings.Join(args, " "), out, stderr.Bytes())
	}
	return string(out), nil
}

// CreateSparse makes an image of nothing but a hole.
func CreateSparse(path string, size int64) (Image, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return Image{}, errors.Wrap(err, "image")
	}
	defer func() { _ = f.Close() }()
	return Image{Path: path}, errors.Wrap(f.Truncate(size), "image")
}

// Mkfs makes an ext4 file system, filled from the directory from when that is not empty.
func (m Image) Mkfs(from string, more ...string) error {
	args := []string{"-q", "-F", "-t", "ext4", "-E", fmt.Sprintf("offset=%d,nodiscard", m.Offset)}
	if from != "" {
		args = append(args, "-d", from)
	}
	args = append(append(args, more...), m.Path)
	if m.Offset > 0 {
		fi, err := os.Stat(m.Path)
		if err != nil {
			return errors.Wrap(err, "image")
		}
		args = append(args, fmt.Sprintf("%dk", (fi.Size()-m.Offset)>>10))
	}
	_, err := Host("mke2fs", args...)
	return err
}

// at names the file system for the tools of e2fsprogs.
func (m Image) at() string {
	if m.Offset == 0 {
		return m.Path
	}
	return fmt.Sprintf("%s?offset=%d", m.Path, m.Offset)
}

// Fsck demands a file system that is clean in every respect. It changes nothing.
func (m Image) Fsck() error {
	_, err := Host("e2fsck", "-f", "-n", m.at())
	return err
}

// NeedsRecovery says whether the journal was left to be replayed.
func (m Image) NeedsRecovery() (bool, error) {
	out, err := Host("dumpe2fs", "-h", m.at())
	return strings.Contains(out, "needs_recovery"), err
}

// Read returns a file of the file system, by debugfs.
func (m Image) Read(name string) ([]byte, error) {
	out, err := Host("debugfs", "-R", "cat "+name, m.at())
	return []byte(out), err
}

// Sum returns the SHA-256 of a file of the file system.
func (m Image) Sum(name string) (string, error) {
	data, err := m.Read(name)
	return Sum(data), err
}

// Sum is SHA-256 as sha256sum prints it.
func Sum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// SumFile returns the SHA-256 of the whole image.
func (m Image) SumFile() (string, error) {
	out, err := Host("sha256sum", m.Path)
	return strings.SplitN(out, " ", 2)[0], err
}

// Allocated returns the bytes that the image occupies on the host, as du counts.
func (m Image) Allocated() (int64, error) {
	fi, err := os.Stat(m.Path)
	if err != nil {
		return 0, errors.Wrap(err, "image")
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.New("no stat(2) of the image")
	}
	return st.Blocks * 512, nil
}
