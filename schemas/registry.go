package schemas

import (
	"embed"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
)

//go:embed json/*.json
var jsonSchemas embed.FS

// CEType is the ce-type of an event of this version.
func CEType(name EventName) string { return typePrefix + string(name) }

// JSONSchemaFile is the name of the file that holds an event's JSON Schema, here and in an export.
func JSONSchemaFile(name EventName) string { return string(name) + "." + Version + ".json" }

// JSONSchema returns the JSON Schema (draft 2020-12) of an event's data. The error names an event this
// version does not know. The schemas are generated from the types of this package (internal/schemagen).
func JSONSchema(name EventName) ([]byte, error) {
	b, err := jsonSchemas.ReadFile("json/" + JSONSchemaFile(name))
	if err != nil {
		return nil, fmt.Errorf("event %q has no schema in this version", string(name))
	}
	return b, nil
}

// Fingerprint names the events that this version reads, with their fields: two versions with the same one make the same
// of every event.
var Fingerprint = sync.OnceValue(func() string {
	h := fnv.New64a()
	for _, name := range slices.Concat(JobEvents(), ControlEvents()) {
		text, err := JSONSchema(name)
		var schema any
		if err == nil {
			err = json.Unmarshal(text, &schema)
		}
		if err == nil {
			text, err = json.Marshal(withoutWords(schema)) // in the order of the keys
		}
		if err != nil {
			panic(fmt.Sprintf("embedded schema of %s: %v", name, err)) // a test reads them all
		}
		h.Write(text)
	}
	return fmt.Sprintf("%016x", h.Sum64())
})

// withoutWords takes out of a schema what is for people.
func withoutWords(schema any) any {
	switch s := schema.(type) {
	case map[string]any:
		if _, ok := s["description"].(string); ok {
			delete(s, "description")
		}
		for _, v := range s {
			withoutWords(v)
		}
	case []any:
		for _, v := range s {
			withoutWords(v)
		}
	}
	return schema
}
