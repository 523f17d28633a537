package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	cited     = regexp.MustCompile(`\b(R-\d{2,3}|DESIGN D\d+|ENGINE \d+|INTERFACE \d|REQUIREMENTS \d|STYLE \d+)\b`)
	complaint = regexp.MustCompile(`\((?:[^()]*, )?(C\d{1,2})\b`) // only inside parentheses: C1 may be anything elsewhere
	explained = regexp.MustCompile(`(?m)^\| ([A-Z][A-Z0-9 -]*\d) \|`)
	decision  = regexp.MustCompile(`(?m)^\*\*(D\d+) `)
	stateRows = regexp.MustCompile(`(?m)^(R-2\d\d) `)
)

// Every id that a comment, test or document cites is explained in docs, so that a reader with nothing but the
// repository can look it up.
func TestCitedIdsAreExplained(t *testing.T) {
	known := map[string]bool{}
	for _, m := range explained.FindAllStringSubmatch(read(t, "docs/RULES.md"), -1) {
		known[m[1]] = true
	}
	for _, m := range decision.FindAllStringSubmatch(read(t, "docs/DECISIONS.md"), -1) {
		known["DESIGN "+m[1]] = true
	}
	for _, m := range stateRows.FindAllStringSubmatch(read(t, "testdata/ledger/transitions.txt"), -1) {
		known[m[1]] = true
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !slices.Contains([]string{".go", ".md", ".txt"}, filepath.Ext(path)) || d.Name() == "rules_test.go" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, re := range []*regexp.Regexp{cited, complaint} {
			for _, m := range re.FindAllSubmatch(b, -1) {
				if id := string(m[1]); !known[id] {
					t.Errorf("%s cites %s, which docs/RULES.md does not explain", strings.TrimPrefix(path, root+"/"), id)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	namedTest   = regexp.MustCompile("`(Test\\w+)`")
	definedTest = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
)

// Every test that a page of docs names as its proof is there.
func TestNamedTestsExist(t *testing.T) {
	defined := map[string]bool{}
	var pages []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			pages = append(pages, path)
		case strings.HasSuffix(path, "_test.go"):
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range definedTest.FindAllSubmatch(b, -1) {
				defined[string(m[1])] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, path := range pages {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range namedTest.FindAllSubmatch(b, -1) {
			named++
			if !defined[string(m[1])] {
				t.Errorf("%s names %s as a proof: there is no such test", strings.TrimPrefix(path, root+"/"), m[1])
			}
		}
	}
	if named == 0 {
		t.Error("no page names a test: this test shows nothing")
	}
}
