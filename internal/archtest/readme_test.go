package archtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The README's Go program compiles against the packages as they are.
func TestReadmeGoCompiles(t *testing.T) {
	_, rest, ok := strings.Cut(read(t, "README.md"), "<!-- test: go -->\n```go\n")
	code, _, closed := strings.Cut(rest, "```\n")
	if !ok || !closed {
		t.Fatal("README.md has no Go block marked for testing")
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "vet", file)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Documents link only to files that exist.
func TestLinksResolve(t *testing.T) {
	for _, doc := range []string{"README.md", "CHANGELOG.md", "docs/ARCHITECTURE.md", "docs/DECISIONS.md", "docs/HANDLERS.md", "docs/PERFORMANCE.md", "docs/STATES.md", "docs/OPERATING.md", "docs/RULES.md"} {
		for _, link := range strings.Split(read(t, doc), "](")[1:] {
			target, _, _ := strings.Cut(link, ")")
			target, _, _ = strings.Cut(target, "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(doc), target)); err != nil {
				t.Errorf("%s links to %s: %v", doc, target, err)
			}
		}
	}
}
