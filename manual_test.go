package vublk_test

import (
	"go/ast"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// public are the packages that others embed: the root one and these. True: it has an example that runs.
var public = map[string]bool{
	"":                        true,
	"blk":                     true,
	"iouring":                 true,
	"vhostuser":               true,
	"vhostuser/vhostusertest": false, // the examples of the others use the two test packages
	"virtio":                  true,
	"virtio/guestmem":         false,
	"virtio/virtiotest":       false,
}

// TestPublicPackagesAreManuals: a package comment answers what a stranger asks, and an example shows the whole at work.
func TestPublicPackagesAreManuals(t *testing.T) {
	docs, examples := map[string]string{}, map[string]bool{}
	for _, s := range sources(t) {
		if _, ok := public[s.pkg]; !ok {
			continue
		}
		if strings.HasSuffix(s.path, "doc.go") && s.file.Doc != nil {
			docs[s.pkg] = s.file.Doc.Text()
		}
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == "Example" && strings.Contains(s.text, "// Output:") {
				examples[s.pkg] = true
			}
		}
	}
	for pkg, wantsExample := range public {
		for _, answer := range []string{`\b[Oo]wns?\b|\bcloses?d?\b`, `goroutine`, `trust`, `[Rr]ead next`} {
			if !regexp.MustCompile(answer).MatchString(docs[pkg]) {
				t.Errorf("the comment of package %q does not speak of %s", pkg, answer)
			}
		}
		if wantsExample && !examples[pkg] {
			t.Errorf("package %q has no func Example with an output", pkg)
		}
	}
}

// TestPublicNamesNothingInternal: what is exported can be written down by a module that is not ours.
func TestPublicNamesNothingInternal(t *testing.T) {
	seen := 0
	for _, s := range sources(t) {
		if _, ok := public[s.pkg]; !ok || s.isTest() {
			continue
		}
		internal := map[string]bool{} // names under which this file knows such packages
		for _, spec := range s.file.Imports {
			if path, err := strconv.Unquote(spec.Path.Value); err == nil && strings.Contains(path, "/internal/") {
				name := path[strings.LastIndex(path, "/")+1:]
				if spec.Name != nil {
					name = spec.Name.Name
				}
				internal[name] = true
			}
		}
		for name, types := range exported(s.file) {
			seen++
			for _, typ := range types {
				ast.Inspect(typ, func(n ast.Node) bool {
					if sel, ok := n.(*ast.SelectorExpr); ok {
						if x, ok := sel.X.(*ast.Ident); ok && internal[x.Name] {
							t.Errorf("%s: %s names %s.%s", s.path, name, x.Name, sel.Sel.Name)
						}
					}
					return true
				})
			}
		}
	}
	if seen < 300 {
		t.Errorf("only %d exported names found", seen)
	}
}

// exported lists what a file exports, with the types by which others see it.
func exported(file *ast.File) map[string][]ast.Node {
	all := map[string][]ast.Node{}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() {
				all[receiver(d)+d.Name.Name] = []ast.Node{d.Type}
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						all[s.Name.Name] = visible(s.Type)
					}
				case *ast.ValueSpec:
					for i, name := range s.Names {
						if !name.IsExported() {
							continue
						}
						all[name.Name] = nil
						if s.Type != nil {
							all[name.Name] = append(all[name.Name], s.Type)
						}
						if i < len(s.Values) { // a variable's type may be its value's
							all[name.Name] = append(all[name.Name], s.Values[i])
						}
					}
				}
			}
		}
	}
	return all
}

// receiver is the type that a method belongs to, and a dot. Methods of a type that is not exported may be an interface's.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if name, ok := typ.(*ast.Ident); ok {
		return name.Name + "."
	}
	return "?."
}

// visible leaves out the fields of a struct that others cannot name.
func visible(typ ast.Expr) []ast.Node {
	s, ok := typ.(*ast.StructType)
	if !ok {
		return []ast.Node{typ}
	}
	var nodes []ast.Node
	for _, field := range s.Fields.List {
		shown := len(field.Names) == 0
		for _, name := range field.Names {
			shown = shown || name.IsExported()
		}
		if shown {
			nodes = append(nodes, field.Type)
		}
	}
	return nodes
}
