package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const v1 = "../v1"

// TestGeneratedCodeIsCommitted: what stands beside the source is what `make generate` makes of it, byte for byte.
func TestGeneratedCodeIsCommitted(t *testing.T) {
	file, err := compile(t.Context(), v1)
	if err != nil {
		t.Fatal(err)
	}
	made, err := generate(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	if len(made) != 2 {
		t.Errorf("the plugins made %d files", len(made))
	}
	for name, want := range made {
		got, err := os.ReadFile(filepath.Join(v1, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("api/v1/%s is not what is made of %s (%v): run make generate and commit what it writes", name, source, err)
		}
	}
}

// TestReleasedMeaningStays fails when a name, number, type or comment changes that clients may have been built against.
func TestReleasedMeaningStays(t *testing.T) {
	file, err := compile(t.Context(), v1)
	if err != nil {
		t.Fatal(err)
	}
	record, err := os.ReadFile(filepath.Join(v1, recordFile))
	if err != nil {
		t.Fatal(err)
	}
	now := describe(file)
	if len(now) < 100 {
		t.Fatalf("only %d elements found in %s", len(now), source)
	}
	extended, err := extend(record, now)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(extended, record) {
		t.Errorf("%s has something that api/v1/%s does not: run make generate and commit what it writes", source, recordFile)
	}
}

const before = `syntax = "proto3";
package p;
// S is one.
service S {
  // Does.
  rpc Do(M) returns (stream M);
}
// M is one.
message M {
  // Bytes.
  uint64 size = 1;
  // Kind.
  E kind = 2;
  // Names.
  repeated string names = 3;
}
// E is one.
enum E {
  // None.
  E_NONE = 0;
}
`

// TestEveryChangeIsNoticed changes a source in all the ways that break a client, and in some that do not.
func TestEveryChangeIsNoticed(t *testing.T) {
	for _, c := range []struct{ name, old, new, complaint string }{
		{"nothing", "", "", ""},
		{"an added field", "  // Kind.", "  // More.\n  bool more = 4;\n  // Kind.", ""},
		{"an added method", "  // Does.", "  // Undoes.\n  rpc Undo(M) returns (M);\n  // Does.", ""},
		{"a comment broken elsewhere", "// M is one.", "// M is\n// one.", ""},
		{"a dropped field, reserved", "  // Kind.\n  E kind = 2;", `  reserved 2; reserved "kind";`, ""},
		{"a dropped field", "  // Kind.\n  E kind = 2;", "", "p.M.kind is gone"},
		{"a dropped field, number free", "  // Kind.\n  E kind = 2;", `  reserved "kind";`, "its number 2 is free"},
		{"a dropped method", "  // Does.\n  rpc Do(M) returns (stream M);", "", "p.S.Do is gone"},
		{"another number", "size = 1", "size = 9", "field 1 uint64"},
		{"another type", "uint64 size", "int64 size", "field 1 int64"},
		{"presence", "uint64 size", "optional uint64 size", "optional uint64"},
		{"one instead of many", "repeated string", "string", "field 3 repeated string"},
		{"another name", "size = 1", "length = 1", "p.M.size is gone"},
		{"another unit", "// Bytes.", "// Sectors.", "| Sectors."},
		{"no comment", "  // Bytes.\n", "", "p.M.size has no comment"},
		{"an added field without comment", "  // Kind.", "  bool more = 4;\n  // Kind.", "p.M.more has no comment"},
		{"no stream", "stream M", "M", "returns (stream p.M)"},
		{"another value", "E_NONE = 0", "E_OTHER = 0", "p.E_NONE is gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			record, err := extend(nil, describeText(t, before))
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(before, c.old, c.new, 1)
			if c.old != "" && changed == before {
				t.Fatal("the case changes nothing")
			}
			extended, err := extend(record, describeText(t, changed))
			switch {
			case c.complaint == "" && err != nil:
				t.Error(err)
			case c.complaint != "" && (err == nil || !strings.Contains(err.Error(), c.complaint) || !strings.Contains(err.Error(), "The way out")):
				t.Errorf("complaint %v, want one with %q and the way out", err, c.complaint)
			case err == nil && !containsLines(extended, record):
				t.Errorf("lines were lost or moved:\n%s", extended)
			}
		})
	}
}

// containsLines tells whether all lines of part are in whole, in their order.
func containsLines(whole, part []byte) bool {
	rest := lines(whole)
	for _, want := range lines(part) {
		for len(rest) > 0 && rest[0] != want {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return false
		}
	}
	return true
}

func describeText(t *testing.T, text string) []element {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, source), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := compile(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return describe(file)
}

// TestRunWritesWhatIsCommitted runs the whole program elsewhere.
func TestRunWritesWhatIsCommitted(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join(v1, source))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, source), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"vublk.pb.go", "vublk_ttrpc.pb.go", recordFile} {
		got, gotErr := os.ReadFile(filepath.Join(dir, name))
		want, wantErr := os.ReadFile(filepath.Join(v1, name))
		if gotErr != nil || wantErr != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: made anew it differs from what is committed (%v, %v)", name, gotErr, wantErr)
		}
	}
}
