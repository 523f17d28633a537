package where

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Keywords of a schema whose objects have names of the author's own, with schemas behind them, and those that hold values.
var (
	namedSchemas = []string{"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}
	values       = []string{"const", "enum", "default", "examples"}
)

// CheckMarks finds an x-redact in a schema of args that is neither true nor false: it would mark nothing, and nobody would
// hear of it. at is its place in the schema as a JSON pointer.
func CheckMarks(schema json.RawMessage) (at string, err error) {
	var whole any
	if err := json.Unmarshal(schema, &whole); err != nil {
		return "", err
	}
	at, wrong := wrongMark(whole, "", false)
	if wrong == nil {
		return "", nil
	}
	return at, fmt.Errorf("x-redact is %s, which would redact nothing: write true (without quotes) to redact what stands there, or leave it out", wrong)
}

// wrongMark is the first mark that is no boolean, and where it is. names: the object's names are the author's own.
func wrongMark(v any, path string, names bool) (at string, wrong []byte) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			sub, here := v[name], path+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
			_, boolean := sub.(bool)
			switch {
			case names:
				at, wrong = wrongMark(sub, here, false)
			case name == "x-redact" && !boolean:
				wrong, _ = json.Marshal(sub) // it was decoded from JSON
				return here, wrong
			case !slices.Contains(values, name):
				at, wrong = wrongMark(sub, here, slices.Contains(namedSchemas, name))
			}
			if wrong != nil {
				return at, wrong
			}
		}
	case []any:
		for i, sub := range v {
			if at, wrong = wrongMark(sub, path+"/"+strconv.Itoa(i), false); wrong != nil {
				return at, wrong
			}
		}
	}
	return "", nil
}
