package ledger_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata/ledger/stories")

// TestStories runs the transcripts: a story in comments, commands, "----" and what the machine answered. With
// -update the answers are written anew; the difference is then reviewed like code.
func TestStories(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(testdata, "stories", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := newStory(t)
			got := answerAll(t, string(want), s.run)
			s.check()
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("%s answers otherwise; run `make golden` and review the difference:\n%s", path, firstDifference(got, string(want)))
			}
		})
	}
}

// answerAll runs every command of a transcript and returns the transcript with the answers of run. Comments,
// blank lines and commands stay as they are; what follows "----" is replaced, up to the next blank line.
func answerAll(t *testing.T, transcript string, run func(line string) string) string {
	t.Helper()
	var out, answer bytes.Buffer
	skipping := false
	for _, line := range strings.SplitAfter(transcript, "\n") {
		text := strings.TrimSpace(line)
		switch {
		case skipping && text != "":
			continue
		case text == "----":
			fmt.Fprintf(&out, "----\n%s", answer.Bytes())
			answer.Reset()
			skipping = true
			continue
		case text == "":
			skipping = false
		case text[0] != '#':
			answer.WriteString(run(text))
		}
		if answer.Len() > 0 && text == "" {
			t.Fatalf("a command without ---- before a blank line; its answer: %s", answer.String())
		}
		out.WriteString(line)
	}
	return out.String()
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d: %s\nwant: %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}
