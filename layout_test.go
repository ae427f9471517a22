package vublk_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the import path of this repository.
const module = "github.com/vublk/vublk"

// mayImport is the import matrix of docs/architecture.md: for each package, which of ours it may import. Packages for
// tests and programs (below test/, cmd/ and the …test packages) are listed too: a package that is missing here fails.
var mayImport = map[string][]string{
	"":                        {"blk", "internal/export", "vhostuser"},
	"api/generate":            {},
	"api/v1":                  {},
	"blk":                     {"internal/sys", "iouring", "virtio", "virtio/guestmem"},
	"cmd/vhost-user-blk":      {"internal/cli"},
	"cmd/vublk":               {"api/v1", "blk", "internal/bench", "internal/cli", "internal/control", "internal/daemon", "internal/duel", "internal/export", "internal/plot", "internal/top", "iouring"},
	"internal/bench":          {"blk", "internal/sys", "iouring", "vhostuser", "vhostuser/vhostusertest", "virtio", "virtio/guestmem", "virtio/virtiotest"},
	"internal/cli":            {"blk", "internal/daemon", "internal/export", "internal/insight", "internal/metrics", "internal/resume", "internal/statedir", "internal/supervise", "internal/sys", "iouring", "vhostuser"},
	"internal/cli/clitest":    {"internal/leaktest", "internal/sys", "vhostuser", "vhostuser/vhostusertest", "virtio", "virtio/guestmem", "virtio/virtiotest"},
	"internal/control":        {"api/v1", "blk", "internal/daemon", "internal/export"},
	"internal/crashpoint":     {},
	"internal/daemon":         {"blk", "internal/export", "internal/statedir", "vhostuser"},
	"internal/duel":           {"internal/bench"},
	"internal/export":         {"blk", "internal/crashpoint", "internal/resume", "internal/sys", "iouring", "vhostuser", "virtio", "virtio/guestmem"},
	"internal/insight":        {},
	"internal/leaktest":       {},
	"internal/manual":         {"internal/cli"},
	"internal/metrics":        {"blk", "internal/export", "vhostuser"},
	"internal/plot":           {},
	"internal/resume":         {"internal/sys"},
	"internal/statedir":       {"internal/crashpoint"},
	"internal/supervise":      {"internal/resume", "internal/sys"},
	"internal/sys":            {},
	"internal/top":            {"api/v1"},
	"iouring":                 {"internal/sys"},
	"vhostuser":               {"internal/crashpoint", "internal/sys", "virtio", "virtio/guestmem"},
	"vhostuser/vhostusertest": {"internal/sys", "vhostuser", "virtio", "virtio/guestmem", "virtio/virtiotest"},
	"virtio":                  {"internal/crashpoint", "internal/sys", "virtio/guestmem"},
	"virtio/guestmem":         {"internal/crashpoint", "internal/sys"},
	"virtio/virtiotest":       {"internal/sys", "virtio", "virtio/guestmem"},
}

// maxLines is the roof for a file; generated ones apart.
const maxLines = 600

type source struct {
	path   string // slash-separated, from the root
	pkg    string // directory, "" at the root
	module string // directory of the go.mod that it belongs to, "" at the root
	text   string
	file   *ast.File
}

func (s source) isTest() bool {
	return strings.HasSuffix(s.path, "_test.go") || strings.HasPrefix(s.path, "test/")
}

func (s source) generated() bool { return ast.IsGenerated(s.file) }

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (path == "build" || path == "bin" || path != "." && strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		if pkg == "." {
			pkg = ""
		}
		all = append(all, source{path: filepath.ToSlash(path), pkg: pkg, module: moduleOf(pkg), text: string(text), file: file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d Go files found: this test runs in the wrong directory", len(all))
	}
	return all
}

// moduleOf finds the module that a package belongs to.
func moduleOf(pkg string) string {
	for ; pkg != "" && pkg != "."; pkg = filepath.ToSlash(filepath.Dir(pkg)) {
		if _, err := os.Stat(filepath.Join(pkg, "go.mod")); err == nil {
			return pkg
		}
	}
	return ""
}

// TestOtherModulesAreStrangers: a module of an example or a test has what everybody has. Its name must not begin with ours,
// or Go would let it import what is internal.
func TestOtherModulesAreStrangers(t *testing.T) {
	found := map[string]bool{}
	for _, s := range sources(t) {
		if s.module == "" {
			continue
		}
		found[s.module] = true
		for _, spec := range s.file.Imports {
			if strings.Contains(spec.Path.Value, "/internal/") {
				t.Errorf("%s imports %s", s.path, spec.Path.Value)
			}
		}
	}
	for dir := range found {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err != nil || !regexp.MustCompile(`(?m)^module example\.com/`).Match(text) {
			t.Errorf("%s/go.mod does not say \"module example.com/…\" (%v)", dir, err)
		}
	}
	if !found["examples/customdisk"] {
		t.Errorf("modules found: %v", found)
	}
}

func TestImportMatrix(t *testing.T) {
	for _, s := range sources(t) {
		if s.module != "" {
			continue
		}
		allowed, listed := mayImport[s.pkg]
		if !listed && !strings.HasPrefix(s.pkg, "test/") {
			t.Errorf("%s: package %q is not in the import matrix (layout_test.go, docs/architecture.md)", s.path, s.pkg)
			continue
		}
		for _, spec := range s.file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			ours, ok := strings.CutPrefix(path, module)
			ours = strings.TrimPrefix(ours, "/")
			if !ok || ours == s.pkg || s.isTest() {
				continue
			}
			if !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s: package %q may import %v", s.path, path, s.pkg, allowed)
			}
		}
	}
}

// TestSiblings: what the transport and the block device are kept apart for is lost when a test joins them, too.
func TestSiblings(t *testing.T) {
	for _, s := range sources(t) {
		for _, spec := range s.file.Imports {
			if s.pkg == "blk" && strings.Contains(spec.Path.Value, module+"/vhostuser") ||
				strings.HasPrefix(s.pkg, "vhostuser") && strings.Contains(spec.Path.Value, module+"/blk") {
				t.Errorf("%s imports %s: vhostuser and blk are siblings that never meet", s.path, spec.Path.Value)
			}
		}
	}
}

func TestUnsafeHasItsFiles(t *testing.T) {
	for _, s := range sources(t) {
		if s.generated() || strings.HasSuffix(s.path, "_unsafe.go") || strings.HasSuffix(s.path, "_unsafe_test.go") {
			continue
		}
		for _, spec := range s.file.Imports {
			if spec.Path.Value == `"unsafe"` {
				t.Errorf("%s imports unsafe: only *_unsafe.go may", s.path)
			}
		}
	}
}

func TestForbidden(t *testing.T) {
	linkname := regexp.MustCompile(`(?m)^//go:linkname`)
	skip := regexp.MustCompile(`\b[tb]\.Skip(Now|f)?\(`)
	for _, s := range sources(t) {
		if linkname.MatchString(s.text) {
			t.Errorf("%s uses go:linkname", s.path)
		}
		if s.path != "layout_test.go" && skip.MatchString(s.text) {
			t.Errorf("%s skips a test: what is missing fails", s.path)
		}
		for _, spec := range s.file.Imports {
			if spec.Path.Value == `"C"` {
				t.Errorf("%s uses cgo", s.path)
			}
		}
		if n := strings.Count(s.text, "\n"); n > maxLines && !s.generated() {
			t.Errorf("%s has %d lines, the roof is %d", s.path, n, maxLines)
		}
	}
}

func TestEveryPackageIsDescribed(t *testing.T) {
	described := map[string]bool{}
	for _, s := range sources(t) {
		if !strings.HasSuffix(s.path, "_test.go") {
			described[s.pkg] = described[s.pkg] || s.file.Doc != nil && strings.TrimSpace(s.file.Doc.Text()) != ""
		}
	}
	for pkg, ok := range described {
		if !ok {
			t.Errorf("package %q has no package comment", pkg)
		}
		if base := filepath.Base(pkg); slices.Contains([]string{"util", "common", "types", "helpers", "pkg"}, base) {
			t.Errorf("package %q is named after nothing", pkg)
		}
	}
}

// TestMatrixIsTrue: a package that is gone must leave the matrix.
func TestMatrixIsTrue(t *testing.T) {
	exists := map[string]bool{}
	for _, s := range sources(t) {
		exists[s.pkg] = true
	}
	for pkg, imports := range mayImport {
		for _, p := range append([]string{pkg}, imports...) {
			if !exists[p] {
				t.Errorf("the import matrix names %q, which does not exist", p)
			}
		}
	}
}

// TestDocsNameTestsThatExist checks each Test… in the documents: a proof that is gone must not be promised.
func TestDocsNameTestsThatExist(t *testing.T) {
	exists := map[string]bool{}
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				exists[f.Name.Name] = true
			}
		}
	}
	docs, err := filepath.Glob("docs/*.md")
	if err != nil || len(docs) == 0 {
		t.Fatal("no documents found", err)
	}
	named := 0
	for _, doc := range append(docs, "README.md", "CONTRIBUTING.md") {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\bTest[A-Z][A-Za-z0-9]*`).FindAllString(string(text), -1) {
			if named++; !exists[name] {
				t.Errorf("%s names %s, which does not exist", doc, name)
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d tests named: the pattern does not find them any more", named)
	}
}

// TestArchitectureNamesFilesThatExist checks every `path/file.go` in docs/architecture.md, and its length.
func TestArchitectureNamesFilesThatExist(t *testing.T) {
	text, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n > 300 {
		t.Errorf("docs/architecture.md has %d lines: 300 at most", n)
	}
	names := regexp.MustCompile("`([a-z][a-z0-9_/-]*/[a-z0-9_]+\\.(?:go|md|sh|yml))`").FindAllStringSubmatch(string(text), -1)
	if len(names) < 20 {
		t.Fatalf("only %d files named: the pattern does not find them any more", len(names))
	}
	for _, n := range names {
		if _, err := os.Stat(n[1]); err != nil {
			t.Errorf("docs/architecture.md names %s: %v", n[1], err)
		}
	}
	for pkg := range mayImport {
		if pkg != "" && !strings.Contains(string(text), "`"+pkg+"`") {
			t.Errorf("docs/architecture.md does not name package %s", pkg)
		}
	}
}
