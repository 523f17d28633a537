package gateway_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/internal/schemagen"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

var update = flag.Bool("update", false, "rewrite openapi.json")

// object is a JSON object whose members are written in the order of their names.
type object = map[string]any

var param = regexp.MustCompile(`\{(\w+)\}`)

// forms are the schemas of what the API takes and gives, by the name of the Go type.
type forms map[string]*jsonschema.Schema

// of returns a reference to the form of v, which it adds.
func (f forms) of(t *testing.T, v any, taken bool) object {
	t.Helper()
	typ := reflect.TypeOf(v)
	known := schemagen.Known()
	known[reflect.TypeFor[schemas.Seq]()] = &jsonschema.Schema{Type: "integer", Minimum: jsonschema.Ptr(0.0)}
	known[reflect.TypeFor[schemas.Millis]()] = &jsonschema.Schema{Type: "integer"}
	for typ, s := range known { // what is not set is an empty text in some answers, and more values may come
		if s.Enum != nil || s.Pattern != "" || s.MinLength != nil {
			known[typ] = &jsonschema.Schema{Type: "string"}
		}
	}
	s, err := jsonschema.ForType(typ, &jsonschema.ForOptions{TypeSchemas: known})
	if err != nil {
		t.Fatalf("%s: %v", typ, err)
	}
	loosen(s, taken)
	switch v.(type) {
	case gateway.SubmitsRequest:
		s.Properties["items"].Items = &jsonschema.Schema{Ref: "#/components/schemas/SubmitBodyRequest"}
	case gateway.History: // its lines leave out what the request says
		line := s.Properties["items"].Items
		line.Required = slices.DeleteFunc(line.Required, func(name string) bool { return slices.Contains([]string{"org", "id", "type"}, name) })
	}
	if taken && s.Properties["type"] != nil && s.Properties["args"] != nil && s.Properties["key"] != nil {
		s.Required = []string{"type"}
	}
	name := strings.ToUpper(typ.Name()[:1]) + typ.Name()[1:]
	if taken && !strings.HasSuffix(name, "Request") {
		name += "Request" // what is taken may leave out what is always given
	}
	f[name] = s
	return object{"$ref": "#/components/schemas/" + name}
}

// loosen lets objects have more than is known of them, for within v1 everything grows by addition, and maps be null. What is
// taken may leave out anything.
func loosen(s *jsonschema.Schema, taken bool) {
	if s == nil {
		return
	}
	if taken {
		s.Required = nil
	}
	if s.Properties != nil {
		s.AdditionalProperties = nil
	} else if s.Type == "object" {
		s.Type, s.Types = "", []string{"null", "object"}
	}
	for _, p := range s.Properties {
		loosen(p, taken)
	}
	loosen(s.Items, taken)
	if s.AdditionalProperties != nil && s.AdditionalProperties.Not == nil {
		loosen(s.AdditionalProperties, taken)
	}
}

// document makes the OpenAPI document.
func document(t *testing.T) ([]byte, forms) {
	t.Helper()
	f := forms{}
	paths, ids := object{}, map[string]bool{}
	body := func(v any, taken bool) object {
		return object{"application/json": object{"schema": f.of(t, v, taken)}}
	}
	for _, rt := range gateway.Routes() {
		method, path, _ := strings.Cut(rt.Pattern, " ")
		params := parameters(path, rt.Params)
		op := object{"operationId": strings.ToLower(method) + "-" + rt.Endpoint, "summary": rt.About, "parameters": params}
		refused := object{"$ref": "#/components/responses/Error"}
		answer := object{"description": rt.About}
		op["responses"] = object{"204": answer, "default": refused}
		if rt.Gives != nil {
			answer["content"] = body(rt.Gives, false)
			op["responses"] = object{"200": answer, "default": refused}
		}
		if rt.Lines != nil {
			answer["content"] = object{"application/x-ndjson": object{"schema": object{"type": "string"}, "x-line": f.of(t, rt.Lines, false)}}
			op["responses"] = object{"200": answer, "default": refused}
		}
		if rt.Media != "" {
			answer["content"].(object)[rt.Media] = object{"schema": object{"type": "string"}}
		}
		if rt.Action != "" {
			op["x-right"] = rt.Action
		}
		id := op["operationId"].(string)
		switch {
		case strings.HasPrefix(path, "/v1/holds"):
			op["operationId"] = id + "-anywhere"
		case ids[id]: // a further route of one endpoint is named by what it does
			op["operationId"] = id + "-" + path[strings.LastIndex(path, "/")+1:]
		}
		ids[id] = true
		if rt.Creates {
			op["responses"].(object)["201"] = answer
		}
		if rt.Endpoint == "get" {
			op["responses"].(object)["202"] = answer
		}
		if rt.Takes != nil {
			op["requestBody"] = object{"required": true, "content": body(rt.Takes, true)}
		}
		at, _ := paths[path].(object)
		if at == nil {
			at = object{}
			paths[path] = at
		}
		at[strings.ToLower(method)] = op
	}
	patterns, asked := gateway.Streams()
	for _, pattern := range patterns {
		_, path, _ := strings.Cut(pattern, " ")
		event := object{"text/event-stream": object{"schema": object{"type": "string"}, "x-data": f.of(t, gateway.LiveEvent{}, false)}}
		paths[path] = object{"get": object{"operationId": "get" + strings.NewReplacer("/", "-", "{", "", "}", "", "v1-", "").Replace(path), "summary": "follow what happens, as server-sent events",
			"x-right": string(rights.JobsWatch), "parameters": parameters(path, asked),
			"responses": object{"200": object{"description": "one event each; id is its position, for Last-Event-ID", "content": event}, "default": object{"$ref": "#/components/responses/Error"}}}}
	}
	codes := []string{}
	for _, c := range ledger.Codes() {
		codes = append(codes, string(c))
	}
	f["Error"] = &jsonschema.Schema{Type: "object", Required: []string{"error"}, Properties: map[string]*jsonschema.Schema{"error": {Type: "object",
		Required: []string{"code", "message", "request_id"}, Properties: map[string]*jsonschema.Schema{
			"code": {Type: "string", Enum: anys(codes)}, "message": {Type: "string"}, "details": {Types: []string{"object", "null"}}, "request_id": {Type: "string"}}}}}
	doc := object{"openapi": "3.1.0",
		"info":     object{"title": "jobledger", "version": "v1", "description": "Jobs, their history and their settings. x-right names the right that an operation asks for: docs/RIGHTS.md."},
		"security": []any{object{"token": []any{}}, object{"login": []any{}}, object{}}, "paths": paths,
		"components": object{"schemas": f, "securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"},
			"login": object{"type": "apiKey", "in": "cookie", "name": "jobledger_login", "description": "of POST /v1/login, named __Host-jobledger_login over TLS; what changes something also has the header X-CSRF-Token, which GET /v1/me tells"}},
			"responses": object{"Error": object{"description": "what is wrong, by a code of a closed set", "content": object{"application/json": object{"schema": object{"$ref": "#/components/schemas/Error"}}}}}}}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(doc); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), f
}

// parameters are those of a path and of its query.
func parameters(path string, query []string) (params []any) {
	for _, m := range param.FindAllStringSubmatch(path, -1) {
		params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}})
	}
	for _, name := range query {
		params = append(params, object{"name": name, "in": "query", "schema": object{"type": "string"}})
	}
	return params
}

func anys(all []string) (out []any) {
	for _, s := range all {
		out = append(out, s)
	}
	return out
}

// TestOpenAPIIsCurrent: the committed document is the one that the routes make.
func TestOpenAPIIsCurrent(t *testing.T) {
	doc, _ := document(t)
	if *update {
		if err := os.WriteFile("openapi.json", doc, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(doc, gateway.OpenAPI()) {
		t.Error("openapi.json is not what the routes make: run `make golden`, and look at the difference")
	}
	var ids []string
	for _, rt := range gateway.Routes() {
		method, _, _ := strings.Cut(rt.Pattern, " ")
		ids = append(ids, method+rt.Pattern)
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != len(gateway.Routes()) {
		t.Error("two routes have one pattern")
	}
}

// TestOpenAPIIsTrue holds real answers to the forms that the document gives them.
func TestOpenAPIIsTrue(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{Anyone: &rights.Principal{Actor: schemas.Actor{Type: "user", ID: "root"}, Grants: []rights.Grant{{Role: schemas.RoleAdmin}}}})
	if got := s.call("", "GET", "/v1/openapi.json", ""); got.status != http.StatusOK || !bytes.Equal(got.body, gateway.OpenAPI()) {
		t.Fatalf("the document: %.200s", got)
	}
	_, f := document(t)
	dead := s.submitDead()
	made := s.call("", "POST", "/v1/orgs/acme/jobs", `{"type":"echo","args":{"a":[1,{"b":null}]},"not_before":"1h","tags":{"k":"v"},"deadline":"2h"}`)
	job := made.header.Get("Location")
	done := s.submitDone()
	end := s.end().String()
	for _, c := range []struct{ route, path, body string }{
		{"GET /v1/me", "/v1/me?org=acme", ""},
		{"GET /v1/orgs/{org}/jobs", "/v1/orgs/acme/jobs?min_seq=" + end, ""},
		{"GET /v1/orgs/{org}/jobs/{name}", job, ""},
		{"GET /v1/orgs/{org}/jobs/{name}", "/v1/orgs/acme/jobs/" + dead, ""},
		{"GET /v1/orgs/{org}/jobs/{name}", "/v1/orgs/acme/jobs/" + done, ""},
		{"GET /v1/orgs/{org}/jobs/{name}/history", job + "/history", ""},
		{"GET /v1/orgs/{org}/jobs/{name}/children", job + "/children", ""},
		{"GET /v1/orgs/{org}/jobs/{name}/explain", job + "/explain", ""},
		{"GET /v1/orgs/{org}/jobs/{name}/result", "/v1/orgs/acme/jobs/" + done + "/result", ""},
		{"GET /v1/orgs/{org}/counts", "/v1/orgs/acme/counts?by=type", ""},
		{"GET /v1/orgs/{org}/errors", "/v1/orgs/acme/errors", ""},
		{"GET /v1/orgs/{org}/notices", "/v1/orgs/acme/notices", ""},
		{"POST /v1/orgs/{org}/notices/read", "/v1/orgs/acme/notices/read", ""},
		{"POST /v1/orgs/{org}/bulk", "/v1/orgs/acme/bulk", `{"action":"cancel","filter":{"type":["none"]},"dry_run":true}`},
		{"POST /v1/orgs/{org}/jobs/{name}/cancel", job + "/cancel", `{"reason":"x"}`},
		{"POST /v1/orgs/{org}/jobs/{name}/unmask", job + "/unmask", `{"reason":"x"}`},
		{"POST /v1/orgs/{org}/jobs/{name}/resubmit", job + "/resubmit", `{"reason":"x"}`},
		{"POST /v1/orgs/{org}/jobs/{name}/resolve", "/v1/orgs/acme/jobs/" + dead + "/resolve", `{"note":"x"}`},
		{"POST /v1/orgs/{org}/jobs/{name}/retry", "/v1/orgs/acme/jobs/" + dead + "/retry", `{"reason":"x"}`},
		{"POST /v1/orgs/{org}/batches", "/v1/orgs/acme/batches", `{"each":{"type":"echo"},"items":[{},{"args":{"n":1}}]}`},
		{"POST /v1/orgs/{org}/submits", "/v1/orgs/acme/submits", `{"items":[{"type":"echo"},{"typ":"echo"}]}`},
		{"PUT /v1/orgs/{org}/schedules/{name}", "/v1/orgs/acme/schedules/nightly", `{"type":"echo","cron":"0 3 * * *"}`},
		{"GET /v1/orgs/{org}/schedules", "/v1/orgs/acme/schedules", ""},
		{"GET /v1/orgs/{org}/schedules/{name}", "/v1/orgs/acme/schedules/nightly", ""},
		{"GET /v1/orgs/{org}/schedules/{name}/next", "/v1/orgs/acme/schedules/nightly/next?count=3", ""},
		{"POST /v1/orgs/{org}/schedules/{name}/trigger", "/v1/orgs/acme/schedules/nightly/trigger", `{"reason":"x"}`},
		{"POST /v1/orgs/{org}/schedules/{name}/backfill", "/v1/orgs/acme/schedules/nightly/backfill", `{"from":"2026-01-01T00:00:00Z","to":"2026-01-03T00:00:00Z","dry_run":true}`},
		{"DELETE /v1/orgs/{org}/schedules/{name}", "/v1/orgs/acme/schedules/nightly?reason=x", ""},
		{"PATCH /v1/orgs/{org}", "/v1/orgs/acme", `{"set":{"weight":2},"new":true,"reason":"x"}`},
		{"POST /v1/orgs", "/v1/orgs", `{"name":"umbrella","set":{"weight":3},"reason":"x"}`},
		{"POST /v1/orgs/{org}/suspend", "/v1/orgs/acme/suspend", `{"reason":"x"}`},
		{"POST /v1/orgs/{org}/resume", "/v1/orgs/acme/resume", `{"reason":"x"}`},
		{"POST /v1/types/{name}/disable", "/v1/types/echo/disable", `{"reason":"x"}`},
		{"POST /v1/types/{name}/enable", "/v1/types/echo/enable", `{"reason":"x"}`},
		{"GET /v1/info", "/v1/info", ""},
		{"GET /v1/orgs", "/v1/orgs", ""},
		{"GET /v1/orgs", "/v1/orgs?all=true", ""},
		{"GET /v1/orgs/{org}", "/v1/orgs/acme", ""},
		{"POST /v1/orgs/{org}/tokens", "/v1/orgs/acme/tokens", `{"title":"x","role":"auditor","reason":"x"}`},
		{"GET /v1/orgs/{org}/tokens", "/v1/orgs/acme/tokens", ""},
		{"PATCH /v1/queues/{name}", "/v1/queues/mail", `{"set":{"max_running":5,"weights":{"acme":2}},"new":true,"reason":"x"}`},
		{"GET /v1/queues", "/v1/queues?org=acme", ""},
		{"GET /v1/queues/{name}", "/v1/queues/default", ""},
		{"GET /v1/types", "/v1/types", ""},
		{"GET /v1/types/{name}", "/v1/types/echo", ""},
		{"PATCH /v1/types/{name}", "/v1/types/echo", `{"set":{"backoff":{"base_s":2}},"reason":"x"}`},
		{"POST /v1/holds", "/v1/holds", `{"scope":{"queue":"mail"},"on":true,"reason":"x"}`},
		{"GET /v1/holds", "/v1/holds", ""},
		{"GET /v1/workers", "/v1/workers", ""},
		{"DELETE /v1/orgs/{org}", "/v1/orgs/acme?dry_run=true", ""},
	} {
		method, _, _ := strings.Cut(c.route, " ")
		got := s.call("", method, c.path, c.body)
		if got.status >= 300 {
			t.Errorf("%s: %.300s", c.route, got)
			continue
		}
		i := slices.IndexFunc(gateway.Routes(), func(rt gateway.Route) bool { return rt.Pattern == c.route })
		name := reflect.TypeOf(gateway.Routes()[i].Gives).Name()
		resolved, err := f[name].Resolve(nil)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.Unmarshal(got.body, &value); err != nil {
			t.Fatal(err)
		}
		if err := resolved.Validate(value); err != nil {
			t.Errorf("%s answers what is not its form %s: %v\n%.600s", c.route, name, err, got)
		}
	}
	var value any
	missing := s.call("", "GET", "/v1/orgs/acme/jobs/none", "")
	if err := json.Unmarshal(missing.body, &value); err != nil {
		t.Fatal(err)
	}
	resolved, err := f["Error"].Resolve(nil)
	if err == nil {
		err = resolved.Validate(value)
	}
	if err != nil {
		t.Errorf("an error is not of its form: %v", err)
	}
}

// TestAsyncAPI: each verb and each event is in the document, with a reference that leads somewhere, and what the port serves is it.
func TestAsyncAPI(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	var doc struct {
		Channels, Operations map[string]any
		Components           struct{ Messages, Schemas map[string]any }
	}
	if err := json.Unmarshal(gateway.AsyncAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	for _, rt := range gateway.Routes() {
		if rt.Action != "" && rt.Lines == nil && (doc.Channels[rt.Endpoint] == nil || doc.Operations[rt.Endpoint] == nil) {
			t.Errorf("the verb %s is missing", rt.Endpoint)
		}
	}
	for _, name := range slices.Concat(schemas.JobEvents(), schemas.ControlEvents()) {
		want, err := schemas.JSONSchema(name)
		if err != nil || doc.Components.Messages[string(name)] == nil || doc.Components.Schemas[string(name)] == nil {
			t.Errorf("the event %s is missing: %v", name, err)
		}
		for _, path := range []string{string(name), schemas.JSONSchemaFile(name)} {
			if got := s.call("", "GET", "/v1/schemas/"+path, ""); !bytes.Equal(got.body, want) {
				t.Errorf("the schema of %s: %.200s", path, got)
			}
		}
	}
	var whole any
	if err := json.Unmarshal(gateway.AsyncAPI(), &whole); err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`"\$ref": "#/([^"]+)"`).FindAllStringSubmatch(string(gateway.AsyncAPI()), -1) {
		at := whole
		for _, part := range strings.Split(m[1], "/") {
			in, _ := at.(object)
			if at = in[part]; at == nil {
				t.Errorf("%s leads nowhere", m[1])
				break
			}
		}
	}
	if got := s.call("", "GET", "/v1/asyncapi.json", ""); !bytes.Equal(got.body, gateway.AsyncAPI()) {
		t.Errorf("the document: %.200s", got)
	}
	if got := s.call("", "GET", "/v1/schemas/exploded", ""); got.code() != ledger.CodeNotFound {
		t.Errorf("no event: %s", got)
	}
}
