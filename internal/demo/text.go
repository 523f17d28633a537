package demo

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"unicode"

	"github.com/dartwing/jobledger/handlers"
)

// Limits of CountText.
const (
	topDefault = 10
	topMax     = 100  // words in a result
	wordMax    = 64   // bytes: a longer word is counted but never among the top
	wordCheck  = 4096 // words between two looks at the context
)

// CountArgs are the arguments of a counting job.
type CountArgs struct {
	Path string `json:"path"`
	Top  int    `json:"top,omitempty"` // most frequent words to name, 1 to 100; 0: 10
}

// CountResult is what sha256sum and wc say, and the most frequent words.
type CountResult struct {
	SHA256 string      `json:"sha256"`
	Bytes  int         `json:"bytes"`
	Lines  int         `json:"lines"` // newline characters
	Words  int         `json:"words"` // separated by white space
	Top    []WordCount `json:"top"`   // most frequent first, then by alphabet
}

// WordCount is a word, in lower case and without punctuation around it, and how often it stands in the text.
type WordCount struct {
	Word  string `json:"word"`
	Count int    `json:"count"`
}

// CountText checksums a text and counts its lines and words. An empty text is a valid one.
func (t *Tasks) CountText(ctx context.Context, a *handlers.Attempt, in CountArgs) (CountResult, error) {
	top := in.Top
	if top == 0 {
		top = topDefault
	}
	if top < 1 || top > topMax {
		return CountResult{}, permanentf("top %d is outside 1 to %d words", in.Top, topMax)
	}
	data, err := t.read(in.Path)
	if err != nil {
		return CountResult{}, err
	}
	report(a, 10, "counting "+in.Path)
	sum := sha256.Sum256(data)
	out := CountResult{SHA256: hex.EncodeToString(sum[:]), Bytes: len(data), Lines: bytes.Count(data, []byte("\n"))}
	counts := make(map[string]int) // bounded by fileMax
	for word := range strings.FieldsSeq(string(data)) {
		if out.Words%wordCheck == 0 {
			if err := ctx.Err(); err != nil {
				return CountResult{}, err
			}
		}
		out.Words++
		word = strings.ToLower(strings.TrimFunc(word, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) }))
		if word != "" && len(word) <= wordMax {
			counts[word]++
		}
	}
	out.Top = topWords(counts, top)
	return out, nil
}

func topWords(counts map[string]int, n int) []WordCount {
	words := make([]WordCount, 0, len(counts))
	for w, count := range counts {
		words = append(words, WordCount{w, count})
	}
	slices.SortFunc(words, func(a, b WordCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Word, b.Word))
	})
	return slices.Clip(words[:min(n, len(words))])
}
