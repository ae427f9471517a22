package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pkg/errors"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/internal/export"
)

// jsonForm is protobuf's, with the names of the .proto. 64-bit numbers are strings in it.
var jsonForm = protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}

// writeJSON writes m, indented, or as one line where there may be many. protojson varies its white space on purpose, so it is
// laid out anew.
func writeJSON(w io.Writer, m proto.Message, indented bool) error {
	raw, err := jsonForm.Marshal(m)
	if err != nil {
		return errors.WithStack(err)
	}
	var b bytes.Buffer
	if indented {
		err = json.Indent(&b, raw, "", "  ")
	} else {
		err = json.Compact(&b, raw)
	}
	if err != nil {
		return errors.WithStack(err)
	}
	b.WriteByte('\n')
	_, err = w.Write(b.Bytes())
	return errors.Wrap(err, "write")
}

// stateText is a state for people: "waiting for lock".
func stateText(s vublkv1.State) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(s.String(), "STATE_"), "_", " "))
}

// printable is a text of another's as it may stand in a line on a terminal.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// orDash is s, or what stands for nothing in a table.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

func sizeText(n uint64) string {
	if n == 0 {
		return "-"
	}
	return bytesText(n)
}

// whereMet is where front-ends are met, and image what they are served.
func whereMet(d *vublkv1.Definition) string { return printable(d.GetSocketPath() + d.GetConnect()) }
func imageOf(d *vublkv1.Definition) string  { return printable(d.GetBlkFile() + d.GetStore()) }

// trouble is what an operator should look at.
func trouble(e *vublkv1.Export) string {
	var parts []string
	if e.GetFlushError() {
		parts = append(parts, "a flush failed")
	}
	if n := e.GetBrokenQueues(); n > 0 {
		parts = append(parts, fmt.Sprintf("%d broken queues", n))
	}
	if e.GetError() != "" {
		parts = append(parts, e.GetError())
	}
	return strings.Join(parts, "; ")
}

// table aligns rows of cells.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return errors.Wrap(t.Flush(), "write") // reports the first error of all the writes
}

func writeExports(w io.Writer, list []*vublkv1.Export) error {
	rows := [][]string{{"NAME", "STATE", "SIZE", "SOCKET", "IMAGE", "FRONT-END", "TROUBLE"}}
	for _, e := range list {
		d := e.GetDefinition()
		rows = append(rows, []string{
			printable(d.GetName()), stateText(e.GetState()), sizeText(e.GetCapacityBytes()), whereMet(d), imageOf(d),
			orDash(e.GetFrontEnd()), orDash(trouble(e)),
		})
	}
	return table(w, rows)
}

func writeExport(w io.Writer, e *vublkv1.Export) error {
	d := e.GetDefinition()
	physical := "the disk's own"
	if d.PhysicalBlockSize != nil {
		physical = export.FormatSize(int64(d.GetPhysicalBlockSize()))
	}
	rows := [][]string{
		{"name", printable(d.GetName())},
		{"state", stateText(e.GetState())},
		{"trouble", orDash(trouble(e))},
		{"size", sizeText(e.GetCapacityBytes())},
		{"front-end", orDash(e.GetFrontEnd())},
		{"queues", fmt.Sprintf("%d running, %d broken, %d at most", e.GetRunningQueues(), e.GetBrokenQueues(), d.GetNumQueues())},
		{"resumed", strconv.FormatUint(e.GetResumes(), 10)},
		{"", ""},
		{"socket-path", orDash(d.GetSocketPath())},
		{"connect", orDash(d.GetConnect())},
		{"blk-file", orDash(d.GetBlkFile())},
		{"store", orDash(d.GetStore())},
		{"read-only", yesNo(d.GetReadOnly())},
		{"direct", yesNo(d.GetDirect())},
		{"lock-timeout", time.Duration(d.GetLockTimeoutNs()).String()},
		{"incoming", yesNo(d.GetIncoming())},
		{"allow-shrink", yesNo(d.GetAllowShrink())},
		{"num-queues", strconv.FormatUint(uint64(d.GetNumQueues()), 10)},
		{"cache", d.GetCache()},
		{"flush-error", d.GetFlushError()},
		{"config-wce", yesNo(d.GetConfigWce())},
		{"logical-block-size", strconv.FormatUint(uint64(d.GetLogicalBlockSize()), 10)},
		{"physical-block-size", physical},
		{"serial", orDash(d.GetSerial())},
	}
	return table(w, rows)
}

func yesNo(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func clock(unixNs int64) string { return time.Unix(0, unixNs).Format("2006-01-02 15:04:05.000") }
