package schemagen

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
)

// comments holds what the Go source says of its types and fields, by Type and Type.Field.
type comments map[string]string

// of returns the comment of a type, or of its field, as one line; "" if there is none.
func (c comments) of(typeName, field string) string {
	if field != "" {
		typeName += "." + field
	}
	return c[typeName]
}

// readComments reads the comments of all structs in the Go files of dir.
func readComments(dir string) (comments, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	c := make(comments)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		path := filepath.Join(dir, f.Name())
		tree, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("read comments: %w", err)
		}
		for _, d := range tree.Decls {
			c.add(d)
		}
	}
	return c, nil
}

func (c comments) add(d ast.Decl) {
	decl, ok := d.(*ast.GenDecl)
	if !ok {
		return
	}
	for _, spec := range decl.Specs {
		t, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		s, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		c[t.Name.Name] = oneLine(decl.Doc)
		for _, f := range s.Fields.List {
			for _, name := range f.Names {
				c[t.Name.Name+"."+name.Name] = strings.TrimSpace(oneLine(f.Doc) + " " + oneLine(f.Comment))
			}
		}
	}
}

func oneLine(g *ast.CommentGroup) string {
	return strings.Join(strings.Fields(g.Text()), " ")
}
