package main

import (
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/export"
)

// benchStore is what the back-ends that we start serve.
type benchStore struct {
	made     export.Store // made for the measurement; no Kind: file
	file     string
	device   bool // file is a block device
	size     int64
	readOnly bool
}

// isMadeStore tells whether nothing is lost when it is written to.
func isMadeStore(text string) bool {
	return strings.HasPrefix(text, "null:") || strings.HasPrefix(text, "mem:")
}

// parseStore reads --store. A file is served read-only where the mix allows it.
func parseStore(text string, mix bench.Mix) (s benchStore, err error) {
	wrong := func(reason, remedy string) (benchStore, error) {
		return benchStore{}, &export.OptionError{Option: "--store", Value: text, Reason: reason, Remedy: remedy}
	}
	if isMadeStore(text) {
		if s.made, err = export.ParseStore(text); err != nil {
			return wrong(err.Error(), "")
		}
		if s.made.Size%bench.SectorSize != 0 {
			return wrong("not a whole number of sectors of 512 bytes", "take "+strings.SplitN(text, ":", 2)[0]+":1GiB")
		}
		s.size = s.made.Size
		return s, nil
	}
	st, err := os.Stat(text)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wrong("there is no such file", "make one: vublk create "+text+" 1GiB; or take null:1GiB or mem:1GiB, which need none")
	case err != nil:
		return wrong(errors.Cause(err).Error(), "")
	case st.Mode().Type()&fs.ModeDevice != 0 && st.Mode().Type()&fs.ModeCharDevice == 0:
		s.device = true
	case !st.Mode().IsRegular():
		return wrong("neither a regular file nor a block device", "take an image, a block device, null:1GiB or mem:1GiB")
	}
	s.file, s.size, s.readOnly = text, st.Size(), !mix.Writes() && mix.FlushPercent == 0
	return s, nil
}

// checkSize finds too little room, where the size is known: of a block device it is not.
func (s *benchStore) checkSize(load *bench.Config) error {
	if s.device {
		return nil
	}
	size, blocks := s.size, uint64(1)
	if load.Span > 0 {
		size = min(size, int64(load.Span))
	}
	if load.Mix.Sequential {
		blocks = uint64(load.Queues) // each has its part
	}
	if uint64(size) < blocks*uint64(load.BlockSize) {
		return errors.Errorf("--store=%s: no room for %d blocks of %s; take a larger store or a smaller --bs", s, blocks, export.FormatSize(int64(load.BlockSize)))
	}
	return nil
}

func (s *benchStore) String() string {
	if s.file == "" {
		return s.made.String()
	}
	return s.file
}

// exclusive tells whether only one process at a time may have the store.
func (s *benchStore) exclusive() bool { return s.file != "" && !s.readOnly }

// vublk is the command line of a vublk that serves the store.
func (s *benchStore) vublk(program, socket string, workers int) []string {
	argv := []string{program, "serve", "--socket-path=" + socket, "--workers=" + strconv.Itoa(workers)}
	if s.file == "" {
		return append(argv, "--store="+s.made.String())
	}
	argv = append(argv, "--blk-file="+s.file, "--lock-timeout=5s")
	if s.readOnly {
		argv = append(argv, "--read-only")
	}
	return argv
}

// qemu is the command line of a qemu-storage-daemon that does as much as it can alike. It has no store in memory:
// null-co with read-zeroes=on writes zeroes into the guest's memory, and drops what is written.
func (s *benchStore) qemu(program, socket string, queues int) []string {
	node := "driver=null-co,node-name=disk,size=" + strconv.FormatInt(s.made.Size, 10)
	writable := "on"
	switch {
	case s.file != "":
		driver := "file"
		if s.device {
			driver = "host_device"
		}
		node = "driver=" + driver + ",node-name=disk,aio=io_uring,cache.direct=on,filename=" + doubleCommas(s.file)
		if s.readOnly {
			node, writable = node+",read-only=on", "off"
		}
	case s.made.Kind == storeMem:
		node += ",read-zeroes=on"
	}
	return []string{
		program, "--blockdev", node, "--export",
		"type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path=" + doubleCommas(socket) +
			",num-queues=" + strconv.Itoa(queues) + ",writable=" + writable,
	}
}

// fill is the load that fills a store in memory once, or nil: what was never written is one page of zeroes, and faster to
// read than memory is.
func (s *benchStore) fill() *bench.Config {
	if s.made.Kind != storeMem {
		return nil
	}
	const block, slowest = 1 << 20, 1 << 31 // bytes a second
	return &bench.Config{
		Mix: bench.Mix{Sequential: true, WritePercent: 100}, BlockSize: uint32(min(s.made.Size, block)), Depth: 4,
		Duration: min(time.Duration(float64(s.made.Size)/slowest*float64(time.Second))+time.Millisecond, 2*time.Second),
	}
}

const storeMem = "mem" // export.Store's Kind

// doubleCommas writes a value for QEMU's option lists.
func doubleCommas(s string) string { return strings.ReplaceAll(s, ",", ",,") }

const peerName = "qemu-storage-daemon"

func findPeer() (string, error) {
	path, err := exec.LookPath(peerName)
	if err != nil {
		return "", errors.Errorf("--compare: %s is not installed; on Debian 12: apt install qemu-system-common", peerName)
	}
	return path, nil
}

// checkSocket finds what a look at a socket's file tells.
func checkSocket(path string) error {
	wrong := func(reason, remedy string) error {
		return &export.OptionError{Option: "--socket", Value: path, Reason: reason, Remedy: remedy}
	}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wrong("there is no such socket", "start a back-end there, or take --store=null:1GiB, which starts one")
	case err != nil:
		return wrong(errors.Cause(err).Error(), "")
	case st.Mode().Type() != fs.ModeSocket:
		return wrong("not a socket", "take the path that the back-end listens on")
	}
	return nil
}
