package gateway

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// compiledMax bounds the cache of compiled schemas; beyond it all are compiled again.
const compiledMax = 1000

// ArgsChecker checks args against the schemas of their types. It goes into ledger.Config.CheckArgs,
// so that publishers who do without schemas do without their library. It is safe for concurrent use.
type ArgsChecker struct {
	mu       sync.Mutex
	compiled map[[sha256.Size]byte]*jsonschema.Resolved
}

// Check implements ledger.Config.CheckArgs. The error is invalid_argument and names the field as a JSON pointer.
func (c *ArgsChecker) Check(t *schemas.TypeSettings, args json.RawMessage) error {
	if len(t.Schema) == 0 {
		return nil
	}
	schema, err := c.compile(t.Schema)
	if err != nil { // it was checked when the type was set; another version may have
		return ledger.Errorf(ledger.CodeInvalidArgument, "the schema of type %s cannot be used: %v", t.Name, err)
	}
	var value any
	if err := json.Unmarshal(args, &value); err != nil {
		if where.RulesOf(t.Schema).Masks() { // libraries repeat values, and others may read what was refused
			err = errors.New("they hold what cannot be held to a schema, such as a number above 1e308")
		}
		return badField("args", err)
	}
	if err := schema.Validate(value); err != nil {
		if where.RulesOf(t.Schema).Masks() {
			return badField("args"+pointer(err), fmt.Errorf("args of type %s do not match its schema there", t.Name))
		}
		return badField("args"+pointer(err), fmt.Errorf("args of type %s do not match its schema: %w", t.Name, err))
	}
	return nil
}

func (c *ArgsChecker) compile(schema json.RawMessage) (*jsonschema.Resolved, error) {
	key := sha256.Sum256(schema)
	c.mu.Lock()
	have := c.compiled[key]
	c.mu.Unlock()
	if have != nil {
		return have, nil
	}
	made, err := compile(schema)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.compiled == nil || len(c.compiled) >= compiledMax {
		c.compiled = make(map[[sha256.Size]byte]*jsonschema.Resolved)
	}
	c.compiled[key] = made
	return made, nil
}

// compile reads a schema of draft 2020-12 or 7. References lead nowhere but into itself: nothing is fetched.
func compile(schema json.RawMessage) (*jsonschema.Resolved, error) {
	var value any
	if err := json.Unmarshal(schema, &value); err != nil {
		return nil, err
	}
	if err := meta().Validate(value); err != nil {
		return nil, err
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(schema, &s); err != nil {
		return nil, err
	}
	return s.Resolve(nil)
}

// meta catches what the library takes without a word and then never matches: a misspelled type, a place for
// a schema that holds something else.
var meta = sync.OnceValue(func() *jsonschema.Resolved {
	var s jsonschema.Schema
	if err := json.Unmarshal([]byte(metaSchema), &s); err != nil {
		panic(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		panic(err)
	}
	return r
})

const metaSchema = `{
	"$ref": "#/$defs/schema",
	"$defs": {
		"name": {"enum": ["null", "boolean", "object", "array", "number", "string", "integer"]},
		"map": {"type": "object", "additionalProperties": {"$ref": "#/$defs/schema"}},
		"list": {"type": "array", "items": {"$ref": "#/$defs/schema"}, "minItems": 1},
		"schema": {
			"type": ["object", "boolean"],
			"properties": {
				"type": {"anyOf": [{"$ref": "#/$defs/name"}, {"type": "array", "items": {"$ref": "#/$defs/name"}, "minItems": 1}]},
				"properties": {"$ref": "#/$defs/map"}, "patternProperties": {"$ref": "#/$defs/map"},
				"$defs": {"$ref": "#/$defs/map"}, "dependentSchemas": {"$ref": "#/$defs/map"},
				"additionalProperties": {"$ref": "#/$defs/schema"}, "items": {"anyOf": [{"$ref": "#/$defs/schema"}, {"$ref": "#/$defs/list"}]},
				"contains": {"$ref": "#/$defs/schema"}, "not": {"$ref": "#/$defs/schema"},
				"allOf": {"$ref": "#/$defs/list"}, "anyOf": {"$ref": "#/$defs/list"}, "oneOf": {"$ref": "#/$defs/list"}, "prefixItems": {"$ref": "#/$defs/list"},
				"required": {"type": "array", "items": {"type": "string"}}
			}
		}
	}
}`

// checkSchema refuses a schema that could not be used, or whose marks would not do what they say. have is the one that the type
// has already, nil if none: it was accepted, by whatever rules, and does not keep anybody from changing something else.
func checkSchema(schema, have json.RawMessage) error {
	if len(schema) == 0 {
		return nil
	}
	if _, err := compile(schema); err != nil {
		return badField("schema", fmt.Errorf("no schema of draft 2020-12 that can be used: %w", err))
	}
	at, err := where.CheckMarks(schema)
	if err == nil {
		return nil
	}
	if same, e := sameJSON(schema, have); e == nil && same {
		return nil
	}
	return badField("schema"+at, err)
}

// schemaPath finds the place in the schema that the library says it was validating.
var schemaPath = regexp.MustCompile(`validating (/[^\s:]+):`)

// pointer turns the last place in the schema into one in the args: /properties/a/properties/b is /a/b. It
// is for people and editors; where the library says it otherwise it is empty, and the message still tells.
func pointer(err error) string {
	found := schemaPath.FindAllStringSubmatch(err.Error(), -1)
	if len(found) == 0 {
		return ""
	}
	var b strings.Builder
	tokens := strings.Split(found[len(found)-1][1], "/")
	for i := 1; i+1 < len(tokens); i++ {
		if tokens[i] == "properties" {
			i++
			b.WriteString("/" + tokens[i])
		}
	}
	return b.String()
}
