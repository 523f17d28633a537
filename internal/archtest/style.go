package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
)

const (
	fileLinesMax = 500 // above, look for the second idea (STYLE 3)
	funcLinesMax = 70
)

// CheckFile returns one line for each house rule the Go file breaks: too long a
// file, too long a function, a test that sleeps. Tables in tests may be long,
// so the function rule is for the rest; generated files are exempt from sizes.
func CheckFile(name string, src []byte) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("archtest: %w", err)
	}
	isTest := strings.HasSuffix(name, "_test.go")
	var wrong []string
	if isTest {
		wrong = append(wrong, sleeps(fset, file)...)
	}
	if ast.IsGenerated(file) {
		return wrong, nil
	}
	if n := fset.File(file.Pos()).LineCount(); n > fileLinesMax {
		wrong = append(wrong, fmt.Sprintf("%s has %d lines, more than %d", name, n, fileLinesMax))
	}
	if !isTest {
		wrong = append(wrong, longFunctions(fset, file)...)
	}
	return wrong, nil
}

func longFunctions(fset *token.FileSet, file *ast.File) []string {
	var wrong []string
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		start := fset.Position(fn.Pos())
		if n := fset.Position(fn.End()).Line - start.Line + 1; n > funcLinesMax {
			wrong = append(wrong, fmt.Sprintf("%s: %s has %d lines, more than %d", start, fn.Name.Name, n, funcLinesMax))
		}
	}
	return wrong
}

// sleeps finds time.Sleep: a test that sleeps is slow when the machine is fast
// and wrong when it is slow.
func sleeps(fset *token.FileSet, file *ast.File) []string {
	var wrong []string
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" && sel.Sel.Name == "Sleep" {
			wrong = append(wrong, fmt.Sprintf("%s: a test must not sleep; wait for a signal", fset.Position(sel.Pos())))
		}
		return true
	})
	return wrong
}
