package schemas

import (
	"embed"
	"fmt"
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
