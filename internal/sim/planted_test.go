package sim_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

var (
	planted      = flag.Bool("sim.planted", false, "build the planted bugs and find each")
	plantedSeeds = flag.Int("sim.planted-seeds", 600, "how many seeds a planted bug may take to be found")
	plantedOnly  = flag.String("sim.planted-only", "", "a regular expression of planted bugs")
)

// bug is one planted bug: edits of production code that are active when the environment names it.
type bug struct {
	name, what string
	edits      []edit
}

type edit struct{ file, old, new string }

// bugEnv names the bug that is active in a binary built with all of them.
const bugEnv = "JOBLEDGER_PLANTED"

// readBugs reads testdata/planted. A file holds a line that says what is wrong, then edits.
func readBugs(t *testing.T) []bug {
	t.Helper()
	files, err := filepath.Glob("testdata/planted/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no planted bugs: %v", err)
	}
	slices.Sort(files)
	var bugs []bug
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		what, rest, _ := strings.Cut(string(raw), "\n")
		b := bug{name: strings.TrimSuffix(filepath.Base(f), ".txt"), what: strings.TrimPrefix(what, "# ")}
		for rest != "" {
			var e edit
			var ok [3]bool
			e.file, rest, ok[0] = strings.Cut(strings.TrimPrefix(rest, "file "), "\n-----\n")
			e.old, rest, ok[1] = strings.Cut(rest, "\n=====\n")
			e.new, rest, ok[2] = strings.Cut(rest, "\n-----\n")
			if ok != [3]bool{true, true, true} {
				t.Fatalf("%s is not file, old and new text", f)
			}
			b.edits = append(b.edits, e)
		}
		bugs = append(bugs, b)
	}
	return bugs
}

// plant returns the production files with all bugs in them, by path below the module's root.
func plant(t *testing.T, bugs []bug) map[string]string {
	t.Helper()
	files := make(map[string]string)
	for _, b := range bugs {
		for _, e := range b.edits {
			if _, ok := files[e.file]; !ok {
				raw, err := os.ReadFile(filepath.Join("../..", e.file))
				if err != nil {
					t.Fatal(err)
				}
				files[e.file] = string(raw)
			}
			if n := strings.Count(files[e.file], e.old); n != 1 {
				t.Errorf("planted bug %s: its text stands %d times in %s: adapt testdata/planted/%s.txt to the code as it is now", b.name, n, e.file, b.name)
				continue
			}
			files[e.file] = strings.Replace(files[e.file], e.old, e.new, 1)
		}
	}
	for _, f := range slices.Collect(keysOf(files)) {
		dir := filepath.Dir(f)
		files[filepath.Join(dir, "planted.go")] = fmt.Sprintf("package %s\n\nimport \"os\"\n\nvar plantedBug = os.Getenv(%q)\n\nfunc planted(name string) bool { return plantedBug == name }\n",
			filepath.Base(dir), bugEnv)
	}
	return files
}

func keysOf(m map[string]string) func(yield func(string) bool) {
	keys := sortedKeys(m)
	return func(yield func(string) bool) {
		for _, k := range keys {
			if !yield(k) {
				return
			}
		}
	}
}

// TestPlantedFit: the planted bugs fit the code as it is.
func TestPlantedFit(t *testing.T) {
	if bugs := readBugs(t); len(bugs) < 25 {
		t.Errorf("%d planted bugs", len(bugs))
	} else {
		plant(t, bugs)
	}
}

// TestPlanted builds one test binary with all planted bugs in it and finds each of them.
func TestPlanted(t *testing.T) {
	if !*planted {
		t.Skip("builds a program: make planted")
	}
	bugs := readBugs(t)
	binary := buildPlanted(t, plant(t, bugs))
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "planted bug\tfound by seed\tafter\tas")
	if how, err := seek(binary, "", 20); err != nil {
		t.Errorf("without a planted bug: %s", how)
	}
	only := regexp.MustCompile(*plantedOnly)
	for _, b := range bugs {
		if !only.MatchString(b.name) {
			continue
		}
		began := time.Now()
		how, err := seek(binary, b.name, *plantedSeeds)
		if err == nil {
			t.Errorf("planted bug %s was not found by %d seeds: %s", b.name, *plantedSeeds, b.what)
			how = "-\t"
		}
		seed, as, _ := strings.Cut(how, "\t")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", b.name, seed, time.Since(began).Round(100*time.Millisecond), as)
	}
	_ = w.Flush()
	t.Logf("\n%s", out.String())
}

// buildPlanted compiles this package's tests over the changed files.
func buildPlanted(t *testing.T, files map[string]string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var overlay struct{ Replace map[string]string }
	overlay.Replace = make(map[string]string)
	for f := range keysOf(files) {
		at := filepath.Join(dir, strings.ReplaceAll(f, "/", "_"))
		if err := os.WriteFile(at, []byte(files[f]), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(root, f)] = at
	}
	raw, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "planted.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", list, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build the planted bugs: %v\n%s", err, out)
	}
	return binary
}

var foundBy = regexp.MustCompile(`seed (\d+): (.*)`)

// seek runs seeds until one fails. It returns the seed and what it found, tab between them.
func seek(binary, name string, seeds int) (string, error) {
	cmd := exec.Command(binary, "-test.run", "^TestSeeds$", fmt.Sprintf("-sim.seeds=%d", seeds), "-test.v", "-test.timeout=30m")
	cmd.Env = append(os.Environ(), bugEnv+"="+name)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return "", nil
	}
	for _, line := range strings.Split(string(out), "\n") {
		if m := foundBy.FindStringSubmatch(line); m != nil {
			return m[1] + "\t" + m[2], err
		}
		if strings.HasPrefix(line, "panic:") {
			return fmt.Sprintf("%d\t%s", strings.Count(string(out), "=== RUN   TestSeeds/seed"), line), err
		}
	}
	return cmp.Or(string(out), err.Error()), err
}
