package guestmem

// Lookup translates by one Table and remembers where it found something last. Guests have few regions and use one of
// them nearly always, so that Hit spares most searches. It belongs to one goroutine, and holds no reference: whoever
// calls Reset keeps the table alive.
type Lookup struct {
	table *Table
	last  span
}

// Reset makes the lookup use t.
func (l *Lookup) Reset(t *Table) {
	l.table = t
	l.last = span{}
}

// Hit returns the host address of [gpa, gpa+n) when that lies in the region of the last search. Small enough to be
// inlined. When it says no, ask Translate.
func (l *Lookup) Hit(gpa GPA, n uint32) (addr uint64, ok bool) {
	off := uint64(gpa) - l.last.gpa
	return l.last.host + off, off < l.last.size && uint64(n) <= l.last.size-off
}

// Translate is Table.Translate, and remembers the region of gpa for Hit.
func (l *Lookup) Translate(gpa GPA, n uint32, dst []Iovec) ([]Iovec, error) {
	if i := l.table.find(uint64(gpa)); i < len(l.table.spans) && uint64(gpa)-l.table.spans[i].gpa < l.table.spans[i].size {
		l.last = l.table.spans[i]
	}
	return l.table.Translate(gpa, n, dst)
}
