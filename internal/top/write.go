package top

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pkg/errors"
)

// plainWidth is how wide a table is that nobody may be looking at.
const plainWidth = 110

// Write writes the table once, as text without colours, sorted by a column of ColumnNames.
func (t *Table) Write(w io.Writer, at time.Time, by string) error {
	i, ok := columnNamed(by)
	if !ok {
		return errors.Errorf("no column is called %q: take %s", by, strings.Join(ColumnNames(), ", "))
	}
	s := Screen{table: *t}
	text := fmt.Sprintf("%s  %d exports in %v  %s\n%s\n", at.Format(time.RFC3339), len(t.Rows), t.Span.Round(time.Millisecond), s.totals(&t.Total),
		header(i, false, plainWidth))
	rows := sorted(t.Rows, i, false)
	for i := range rows {
		text += line(func(c *column) string { return c.cell(&rows[i]) }, plainWidth) + "\n"
	}
	_, err := io.WriteString(w, text+"\n")
	return errors.Wrap(err, "write the table")
}
