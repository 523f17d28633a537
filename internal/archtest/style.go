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
// file, too long a function, a test that sleeps, or that cannot fail. Tables in tests may be long,
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
		wrong = append(wrong, empty(fset, file)...)
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

// empty finds tests that cannot fail: they neither report anything nor hand their t to somebody who might. To
// open a ledger counts, for its checker reports at the end (STYLE 7).
func empty(fset *token.FileSet, file *ast.File) []string {
	var wrong []string
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Test") || !takesT(fn) {
			continue
		}
		if !mayFail(fn.Body, fn.Type.Params.List[0].Names[0].Name) {
			wrong = append(wrong, fmt.Sprintf("%s: %s cannot fail: it asserts nothing", fset.Position(fn.Pos()), fn.Name.Name))
		}
	}
	return wrong
}

func takesT(fn *ast.FuncDecl) bool {
	params := fn.Type.Params.List
	if len(params) != 1 || len(params[0].Names) != 1 {
		return false
	}
	star, ok := params[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	sel, ok := star.X.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "T"
}

// mayFail reports whether a body calls a failing method of its t, or gives t to another function. A subtest
// names its own t, mostly the same way.
func mayFail(body *ast.BlockStmt, name string) (may bool) {
	isT := func(e ast.Expr) bool { id, ok := e.(*ast.Ident); return ok && id.Name == name }
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && isT(sel.X) {
				may = may || strings.HasPrefix(sel.Sel.Name, "Error") || strings.HasPrefix(sel.Sel.Name, "Fa")
			}
			for _, arg := range n.Args {
				may = may || isT(arg)
			}
		case *ast.KeyValueExpr:
			may = may || isT(n.Value)
		}
		return !may
	})
	return may
}
