package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pkg/errors"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// element is one thing that a client relies on.
type element struct {
	name string // "vublk.v1.Definition.num_queues"
	kind string // "field 11 optional uint32"
	says string // its comment, which is its meaning, as one line

	dropped func(protoreflect.FieldNumber) bool // a reserved name: tells whether a number is reserved, too
}

func (e element) line() string { return fmt.Sprintf("%s | %s | %s", e.name, e.kind, e.says) }

// wayOut is what an author reads who has changed something that is released.
const wayOut = `Clients that exist rely on it. The way out:
 - another number, type or meaning: leave this one as it is, add a new field, and say in the old one's comment what replaces it
 - dropped: reserve its number and its name in the message
 - the comment says the same in better words: change its line in api/v1/` + recordFile + ` by hand, in a commit that says so
 - it is in no release yet: the same`

// describe lists all elements of file in its order.
func describe(file protoreflect.FileDescriptor) []element {
	var all []element
	add := func(d protoreflect.Descriptor, kind string) {
		comment := file.SourceLocations().ByDescriptor(d).LeadingComments
		all = append(all, element{name: string(d.FullName()), kind: kind, says: strings.Join(strings.Fields(comment), " ")})
	}
	for i := range file.Services().Len() {
		s := file.Services().Get(i)
		add(s, "service")
		for j := range s.Methods().Len() {
			m := s.Methods().Get(j)
			answer := string(m.Output().FullName())
			if m.IsStreamingServer() {
				answer = "stream " + answer
			}
			question := string(m.Input().FullName())
			if m.IsStreamingClient() {
				question = "stream " + question
			}
			add(m, fmt.Sprintf("method (%s) returns (%s)", question, answer))
		}
	}
	for i := range file.Messages().Len() {
		m := file.Messages().Get(i)
		add(m, "message")
		for j := range m.Fields().Len() {
			f := m.Fields().Get(j)
			add(f, fmt.Sprintf("field %d %s", f.Number(), typeOf(f)))
		}
		for j := range m.ReservedNames().Len() {
			all = append(all, element{name: fmt.Sprintf("%s.%s", m.FullName(), m.ReservedNames().Get(j)), dropped: m.ReservedRanges().Has})
		}
	}
	for i := range file.Enums().Len() {
		e := file.Enums().Get(i)
		add(e, "enum")
		for j := range e.Values().Len() {
			v := e.Values().Get(j)
			add(v, fmt.Sprintf("value %d of %s", v.Number(), e.Name()))
		}
	}
	return all
}

// typeOf is what stands before a field's name in the source.
func typeOf(f protoreflect.FieldDescriptor) string {
	name := f.Kind().String()
	switch {
	case f.IsMap():
		return fmt.Sprintf("map<%s, %s>", typeOf(f.MapKey()), typeOf(f.MapValue()))
	case f.Message() != nil:
		name = string(f.Message().FullName())
	case f.Enum() != nil:
		name = string(f.Enum().FullName())
	}
	switch {
	case f.IsList():
		return "repeated " + name
	case f.HasOptionalKeyword():
		return "optional " + name
	}
	return name
}

// check returns what is wrong with now, given what is released.
func check(record []byte, now []element) error {
	var problems []string
	for _, line := range lines(record) {
		name, _, _ := strings.Cut(line, " | ")
		at := slices.IndexFunc(now, func(e element) bool { return e.name == name })
		switch {
		case at < 0:
			problems = append(problems, name+" is gone")
		case now[at].dropped != nil:
			if n := numberOf(line); !now[at].dropped(n) {
				problems = append(problems, fmt.Sprintf("%s is gone, and its number %d is free for others", name, n))
			}
		case now[at].line() != line:
			problems = append(problems, fmt.Sprintf("%s has changed\n  released: %s\n  now:      %s", name, line, now[at].line()))
		}
	}
	for _, e := range now {
		if e.says == "" && e.dropped == nil && e.kind != "message" {
			problems = append(problems, e.name+" has no comment: what does it mean, in which unit, and what is its default?")
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return errors.Errorf("%s:\n%s\n%s", source, strings.Join(problems, "\n"), wayOut)
}

// numberOf reads a field's number in a line of the record.
func numberOf(line string) protoreflect.FieldNumber {
	var name string
	var n protoreflect.FieldNumber
	_, _ = fmt.Sscanf(line, "%s | field %d", &name, &n)
	return n
}

// extend returns record with the elements that are new in now, each after the one that it follows.
func extend(record []byte, now []element) ([]byte, error) {
	if err := check(record, now); err != nil {
		return nil, err
	}
	out := lines(record)
	after := -1
	for _, e := range now {
		if e.dropped != nil {
			continue
		}
		at := slices.IndexFunc(out, func(line string) bool { return strings.HasPrefix(line, e.name+" | ") })
		if at < 0 {
			at = after + 1
			out = slices.Insert(out, at, e.line())
		}
		after = at
	}
	return []byte(strings.Join(out, "\n") + "\n"), nil
}

func lines(record []byte) []string {
	text := strings.TrimSuffix(string(record), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
