package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/pkg/errors"
)

// The markers between which the document is ours.
const (
	markBegin = "<!-- begin: written by make bench -->\n"
	markEnd   = "<!-- end: written by make bench -->\n"
)

// writeDocument puts the results between the markers of a document.
func writeDocument(path string, s *site, m machine, entries []*entry) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return errors.Wrap(err, "-document")
	}
	var b bytes.Buffer
	b.WriteString("\n## Results\n\n")
	m.write(&b)
	b.WriteString("### Summary\n\n")
	writeSummary(&b, entries)
	for _, e := range entries {
		e.write(&b, s)
	}
	text, err = replace(text, b.Bytes())
	if err != nil {
		return errors.Wrapf(err, "-document: %s", path)
	}
	return errors.Wrap(os.WriteFile(path, text, 0o644), "-document")
}

// replace exchanges what is between the markers.
func replace(text, part []byte) ([]byte, error) {
	before, rest, ok := bytes.Cut(text, []byte(markBegin))
	if !ok || bytes.Contains(rest, []byte(markBegin)) {
		return nil, errors.Errorf("want one line %q", markBegin)
	}
	_, after, ok := bytes.Cut(rest, []byte(markEnd))
	if !ok {
		return nil, errors.Errorf("no line %q behind the first marker", markEnd)
	}
	return fmt.Appendf(nil, "%s%s%s%s%s", before, markBegin, part, markEnd, after), nil
}
