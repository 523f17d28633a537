package natsd

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/nats-io/nats-server/v2/conf"
)

// ConfEntry is one top-level entry of a configuration file.
type ConfEntry struct {
	Name  string
	Value any // string, bool, int64, float64, time.Time, a list or a map
	Line  int // from 1
}

// ReadConf reads a file in the server's own configuration language, which NATS
// operators know: includes, variables, comments. Entries come in the order of
// their lines. Numbers take the language's size suffixes, so a bare 10m is ten
// million; durations are quoted.
func ReadConf(path string) ([]ConfEntry, error) {
	parsed, err := conf.ParseFileWithChecks(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	entries := make([]ConfEntry, 0, len(parsed))
	for name, v := range parsed {
		e := ConfEntry{Name: name, Value: v}
		if t, ok := v.(interface {
			Value() any
			Line() int
			IsUsedVariable() bool
		}); ok {
			if t.IsUsedVariable() {
				continue // it defines a variable for other lines
			}
			e.Value, e.Line = t.Value(), t.Line()
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b ConfEntry) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Name, b.Name))
	})
	return entries, nil
}
