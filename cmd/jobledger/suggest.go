package main

import (
	"strings"

	"github.com/dartwing/jobledger/internal/near"
)

// joined lists names for a sentence.
func joined[T ~string](names []T) string {
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = string(n)
	}
	return strings.Join(texts, ", ")
}

// didYouMean returns ", did you mean X?" for the name nearest to the word, or
// nothing when none is near. The prefix is what the user would type before the name.
func didYouMean(prefix, word string, names []string) string {
	best := near.Of(word, names)
	if best == "" {
		return ""
	}
	return ", did you mean " + prefix + best + "?"
}
