package main

import (
	"context"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The make target says what to give it.
func TestHarnessIsNamed(t *testing.T) {
	t.Parallel()
	err := run(context.Background(), nil, os.Stdout)
	if err == nil || !strings.Contains(err.Error(), "make bench-peers HARNESS=") {
		t.Errorf("without a harness: %v", err)
	}
	if err := checkHarness(t.TempDir()); err == nil {
		t.Error("an empty folder is no harness")
	}
}

// The adapter takes the place of the harness's, and its configurations stand before the others. The harness's own
// package is not here, so both halves are read, not built.
func TestAdapterIsJoined(t *testing.T) {
	t.Parallel()
	into := t.TempDir()
	folder, script := filepath.Join(into, "ours"), filepath.Join(into, "run.sh")
	for name, text := range map[string]string{filepath.Join(folder, "ours.go"): "not Go", script: "x\nCONFIGS='\nraw | -\n'\n"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := adapt(folder); err != nil {
		t.Fatal(err)
	}
	if err := configure(script); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(files) < 3 {
		t.Fatalf("joined: %v, %v", files, err)
	}
	for _, name := range files {
		if file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution); err != nil || file.Name.Name != "ours" {
			t.Errorf("%s: %v", name, err)
		}
	}
	text, err := os.ReadFile(script)
	if want := "x\nCONFIGS='\n" + configurations + "raw | -\n'\n"; err != nil || string(text) != want {
		t.Errorf("run.sh is %q, %v", text, err)
	}
	if err := configure(filepath.Join(folder, "join.go")); err == nil {
		t.Error("a script without configurations was taken")
	}
}

// Ratios are of medians, of quiet repetitions where there are any; the generated part is replaced and nothing else.
func TestReport(t *testing.T) {
	t.Parallel()
	line := func(label, scenario, kase string, rate, noisy float64) result {
		return result{Label: label, Scenario: scenario, Case: kase, M: map[string]float64{"jobs_s": rate, "noisy": noisy}}
	}
	all := []result{
		line("ours", "s3", "w=64", 300, 0), line("ours", "s3", "w=64", 100, 0), line("ours", "s3", "w=64", 200, 0), line("ours", "s3", "w=64", 9000, 1),
		line("asynq-everysec", "s3", "w=64", 100, 1),
		line("ours", "s2", "many,g=1", 50, 0), line("ours", "s2", "many,g=4", 70, 0), line("river-syncon", "s2", "many,g=1", 100, 0),
	}
	text := ratios(all)
	for _, want := range []string{"| s3 drain, to Asynq | 2.00 | ≥ 1.2 | yes |", "| s2 bulk, to River | 0.70 | ≥ 0.8 | **no** |"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "s7") {
		t.Error("what was not measured is told")
	}
	file := filepath.Join(t.TempDir(), "x.md")
	if err := os.WriteFile(file, []byte("head\n"+generatedBegins+"old\n"+generatedEnds+"tail\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeBetween(file, "new\n"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if want := "head\n" + generatedBegins + "new\n" + generatedEnds + "tail\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
	if err := writeBetween(filepath.Join(filepath.Dir(file), "none"), ""); err == nil {
		t.Error("a document that is not there was written")
	}
}
