package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// schemaItem is one line of `schema ls`.
type schemaItem struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Type    string `json:"type"` // the event's ce-type
	File    string `json:"file"` // as exported
}

func (p *program) addSchema(app *fisk.Application) {
	schema := group(app, "schema", "The documents this binary obeys")
	p.command(schema, "ls", "List the event schemas", p.listSchemas)

	var kind, dir string
	export := p.command(schema, "export", "Write the documents to a folder, or to stdout as one",
		func(context.Context) error { return p.exportSchemas(kind, dir) })
	export.HelpLong(`Examples:

	jobledger schema export jsonschema | jq '."submitted.v1.json".required'
	jobledger schema export openapi > openapi.json
	jobledger schema export all -o schemas/`)
	export.Arg("kind", "jsonschema, openapi, asyncapi or all").Default("all").EnumVar(&kind, "jsonschema", "openapi", "asyncapi", "all")
	export.Flag("output", "Folder to write one file per document to").Short('o').PlaceHolder("DIR").StringVar(&dir)
}

func events() []schemas.EventName {
	return slices.Concat(schemas.JobEvents(), schemas.ControlEvents())
}

func (p *program) listSchemas(context.Context) error {
	items := make([]schemaItem, 0, len(events()))
	g := &grid{Title: "Event schemas", Columns: []string{"event", "version", "type", "file"}}
	for _, name := range events() {
		item := schemaItem{string(name), schemas.Version, schemas.CEType(name), schemas.JSONSchemaFile(name)}
		items = append(items, item)
		g.add(item.Name, item.Version, item.Type, item.File)
	}
	if p.flags.JSON {
		return p.document(map[string]any{"items": items, "next": nil, "as_of_seq": nil})
	}
	return p.list(g)
}

// exportSchemas writes the documents of a kind; one that stands alone goes to stdout as it is.
func (p *program) exportSchemas(kind, dir string) error {
	documents := make(map[string]json.RawMessage)
	if kind == "jsonschema" || kind == "all" {
		for _, name := range events() {
			text, err := schemas.JSONSchema(name)
			if err != nil {
				return err
			}
			documents[schemas.JSONSchemaFile(name)] = text
		}
	}
	for name, text := range map[string][]byte{"openapi": gateway.OpenAPI(), "asyncapi": gateway.AsyncAPI()} {
		if kind == name && dir == "" {
			_, err := p.Stdout.Write(text)
			return outputError(err)
		}
		if kind == name || kind == "all" {
			documents[name+".json"] = text
		}
	}
	if dir == "" {
		return p.document(documents)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return failf(ledger.CodeInternal, "%w", err)
	}
	for file, text := range documents {
		if err := writeFile(filepath.Join(dir, file), text); err != nil {
			return failf(ledger.CodeInternal, "%w", err)
		}
	}
	p.talkf("wrote %d files to %s", len(documents), dir)
	return nil
}
