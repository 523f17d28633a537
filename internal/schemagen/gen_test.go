package schemagen

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite schemas/json")

const (
	sourceDir = "../../schemas"
	jsonDir   = "../../schemas/json"
)

// TestCommittedSchemasAreCurrent shows that schemas/json is what the Go types of today generate
// (INTERFACE 5), and that no schema of an event that is gone stays behind.
func TestCommittedSchemasAreCurrent(t *testing.T) {
	want, err := Generate(sourceDir)
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range want {
		path := filepath.Join(jsonDir, name)
		if *update {
			if err := os.WriteFile(path, body, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, body) {
			t.Errorf("%s is not what the Go types generate: run `make golden` and review the difference", path)
		}
	}
	files, err := os.ReadDir(jsonDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if want[f.Name()] == nil {
			t.Errorf("%s belongs to no event: a schema is never dropped within a version", f.Name())
		}
	}
}
