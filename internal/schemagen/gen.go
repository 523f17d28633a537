package schemagen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/dartwing/jobledger/schemas"
)

// IDBase begins the $id of every schema; <version>/<event>.json follows.
const IDBase = "https://github.com/dartwing/jobledger/schemas/"

// draft is the dialect of the documents.
const draft = "https://json-schema.org/draft/2020-12/schema"

// Generate returns the JSON Schema of every event by file name. sourceDir is the folder of package schemas,
// whose comments become descriptions.
func Generate(sourceDir string) (map[string][]byte, error) {
	docs, err := readComments(sourceDir)
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	for _, name := range slices.Concat(schemas.JobEvents(), schemas.ControlEvents()) {
		body, err := generate(name, docs)
		if err != nil {
			return nil, fmt.Errorf("schema of %s: %w", name, err)
		}
		files[schemas.JSONSchemaFile(name)] = body
	}
	return files, nil
}

func generate(name schemas.EventName, docs comments) ([]byte, error) {
	data, err := schemas.NewData(name)
	if err != nil {
		return nil, err
	}
	t := reflect.TypeOf(data).Elem()
	s, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: known})
	if err != nil {
		return nil, err
	}
	refine(s, t, docs)
	s.Schema = draft
	s.ID = IDBase + schemas.Version + "/" + string(name) + ".json"
	s.Title = schemas.CEType(name)
	s.Description = docs.of(t.Name(), "")
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// Known returns the schemas of types whose Go kind says too little.
func Known() map[reflect.Type]*jsonschema.Schema { return maps.Clone(known) }

// known holds the schemas of types whose Go kind says too little.
var known = map[reflect.Type]*jsonschema.Schema{
	reflect.TypeFor[time.Time]():           {Type: "string", Format: "date-time"},
	reflect.TypeFor[json.RawMessage]():     {}, // any JSON value, kept byte for byte
	reflect.TypeFor[schemas.OrgID]():       tokenSchema(),
	reflect.TypeFor[schemas.QueueName]():   tokenSchema(),
	reflect.TypeFor[schemas.TypeName]():    tokenSchema(),
	reflect.TypeFor[schemas.JobID]():       tokenSchema(),
	reflect.TypeFor[schemas.EventID]():     {Type: "string", MinLength: jsonschema.Ptr(1)},
	reflect.TypeFor[schemas.SessionID]():   {Type: "string", MinLength: jsonschema.Ptr(1)},
	reflect.TypeFor[schemas.State]():       enum(schemas.States()...),
	reflect.TypeFor[schemas.EventName]():   enum(schemas.JobEvents()...),
	reflect.TypeFor[schemas.Priority]():    enum(schemas.PriorityLow, schemas.PriorityNormal, schemas.PriorityHigh, schemas.PriorityCritical),
	reflect.TypeFor[schemas.Resolution]():  enum(schemas.ResolutionOpen, schemas.ResolutionResolved, schemas.ResolutionIgnored),
	reflect.TypeFor[schemas.LossCause]():   enum(schemas.LossWorkerGone, schemas.LossCellRestart),
	reflect.TypeFor[schemas.DedupPolicy](): enum(schemas.DedupStrict, schemas.DedupInFlight, schemas.DedupSingleton),
	reflect.TypeFor[schemas.ReusePolicy](): enum(schemas.ReuseFinished, schemas.ReuseFailed, schemas.ReuseNever),
	reflect.TypeFor[schemas.DeadReason](): enum(schemas.DeadPermanentError, schemas.DeadRetriesExhausted, schemas.DeadDependencyFailed,
		schemas.DeadExpired, schemas.DeadRejected, schemas.DeadOrgDeleted, schemas.DeadPoison),
	reflect.TypeFor[schemas.ErrorClass](): enum(schemas.ClassTransient, schemas.ClassPermanent, schemas.ClassUnclassified,
		schemas.ClassTimeout, schemas.ClassLost),
}

// atLeast holds the lowest value of fields, as Type.Field, whose Go type would allow less.
var atLeast = map[string]float64{
	"Head.Generation": 1, "Head.Submitted": 1, "Submitted.Generation": 1, "ParentRef.Generation": 1,
	"AttemptHead.Attempt": 1, "Running.Attempt": 1, "Fence.Seq": 1, "Queued.Used": 0,
	"Submitted.DelayMS": 0, "Submitted.DeadlineMS": 0, "Submitted.WindowMS": 0,
	"Failed.DelayMS": 0, "TimedOut.DelayMS": 0,
	"Policy.TimeoutMS": 1, "Policy.GraceMS": 0, "Policy.MaxAttempts": 1, "Policy.PoisonLimit": 1,
	"Job.Generation": 1, "Job.SubmittedSeq": 1,
}

func tokenSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: fmt.Sprintf("^[A-Za-z0-9_-]{1,%d}$", schemas.TokenMax)}
}

func enum[T ~string](values ...T) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, v := range values {
		s.Enum = append(s.Enum, string(v))
	}
	return s
}

// refine mends, in place and all the way down, what inference cannot know of t: unknown properties are
// allowed; absent fields are left out, never null; ranges and descriptions.
func refine(s *jsonschema.Schema, t reflect.Type, docs comments) {
	s.Types = slices.DeleteFunc(s.Types, func(name string) bool { return name == "null" })
	if len(s.Types) == 1 {
		s.Type, s.Types = s.Types[0], nil
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if known[t] != nil {
		return
	}
	switch t.Kind() {
	case reflect.Slice:
		refine(s.Items, t.Elem(), docs)
	case reflect.Map:
		refine(s.AdditionalProperties, t.Elem(), docs)
	case reflect.Struct:
		s.AdditionalProperties = nil
		for _, f := range reflect.VisibleFields(t) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			p := s.Properties[name]
			if f.Anonymous || p == nil {
				continue
			}
			owner := ownerOf(t, f)
			refine(p, f.Type, docs)
			p.Description = docs.of(owner, f.Name)
			if low, ok := atLeast[owner+"."+f.Name]; ok {
				p.Minimum = jsonschema.Ptr(low)
			}
		}
	}
}

// ownerOf returns the name of the struct that declares f, which may be one that t embeds.
func ownerOf(t reflect.Type, f reflect.StructField) string {
	for _, i := range f.Index[:len(f.Index)-1] {
		t = t.Field(i).Type
	}
	return t.Name()
}
