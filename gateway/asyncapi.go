package gateway

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// AsyncAPI returns the AsyncAPI 3.0 document of the NATS side: the verbs of the command service, as requests, and the events of
// the ledger with their schemas. Nobody may change it.
var AsyncAPI = sync.OnceValue(func() []byte {
	doc := asyncDocument{"asyncapi": "3.0.0", "defaultContentType": "application/json",
		"info": asyncDocument{"title": Name, "version": schemas.Version, "description": "The command service over NATS, and the events of the ledger. The bodies are those of openapi.json; " +
			"an error has the headers Nats-Service-Error and Nats-Service-Error-Code. x-right names the right that a verb asks for."},
	}
	channels, operations, messages, forms := asyncDocument{}, asyncDocument{}, asyncDocument{}, asyncDocument{}
	org := asyncDocument{"description": "an org"}
	for _, ep := range (&Gateway{}).endpoints() {
		address, params := Name+".{org}."+ep.pattern, asyncDocument{"org": org}
		if strings.HasSuffix(ep.pattern, ".*") {
			address = strings.TrimSuffix(address, "*") + "{name}"
			params["name"] = asyncDocument{"description": "a job, a type or another thing, by its id"}
		}
		channels[ep.name] = asyncDocument{"address": address, "parameters": params, "messages": asyncDocument{"request": ref("messages", "request"), "reply": ref("messages", "reply")}}
		operations[ep.name] = asyncDocument{"action": "receive", "summary": ep.about, "x-right": ep.action, "channel": asyncDocument{"$ref": "#/channels/" + ep.name},
			"messages": []any{asyncDocument{"$ref": "#/channels/" + ep.name + "/messages/request"}},
			"reply":    asyncDocument{"channel": asyncDocument{"$ref": "#/channels/" + ep.name}, "messages": []any{asyncDocument{"$ref": "#/channels/" + ep.name + "/messages/reply"}}}}
	}
	messages["request"] = asyncDocument{"summary": "a request; its body is that of the HTTP twin, of a submit the args", "payload": asyncDocument{}}
	messages["reply"] = asyncDocument{"summary": "what the HTTP twin answers, or an error", "payload": asyncDocument{}}
	for _, of := range []struct {
		channel, address, about string
		params                  asyncDocument
		events                  []schemas.EventName
	}{
		{"job-events", "jobs.{org}.{id}", "what happened to a job, in stream " + ledger.StreamLedger, asyncDocument{"org": org, "id": asyncDocument{"description": "a job"}}, schemas.JobEvents()},
		{"control-events", "control.{place}", "settings and what else is the cell's, in stream " + ledger.StreamLedger, asyncDocument{"place": asyncDocument{"description": "of the thing; several tokens"}}, schemas.ControlEvents()},
	} {
		in, refs := asyncDocument{}, []any{}
		for _, name := range of.events {
			messages[string(name)] = asyncDocument{"name": schemas.CEType(name), "contentType": "application/json", "payload": asyncDocument{"$ref": "#/components/schemas/" + string(name)},
				"headers": asyncDocument{"type": "object", "properties": asyncDocument{schemas.HeaderType: asyncDocument{"const": schemas.CEType(name)}}}}
			in[string(name)] = ref("messages", string(name))
			refs = append(refs, asyncDocument{"$ref": "#/channels/" + of.channel + "/messages/" + string(name)})
			text, err := schemas.JSONSchema(name)
			if err != nil {
				panic("gateway: " + err.Error()) // each event has one, by a test
			}
			forms[string(name)] = json.RawMessage(text)
		}
		channels[of.channel] = asyncDocument{"address": of.address, "parameters": of.params, "messages": in}
		operations[of.channel] = asyncDocument{"action": "send", "summary": of.about, "channel": asyncDocument{"$ref": "#/channels/" + of.channel}, "messages": refs}
	}
	doc["channels"], doc["operations"], doc["components"] = channels, operations, asyncDocument{"messages": messages, "schemas": forms}
	body, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		panic("gateway: " + err.Error())
	}
	return append(body, '\n')
})

type asyncDocument = map[string]any

func ref(kind, name string) asyncDocument {
	return asyncDocument{"$ref": "#/components/" + kind + "/" + name}
}

// document serves a part of the binary: whoever reaches the port may read it.
func document(body func() []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, body()) }
}

// eventSchema serves the JSON Schema of an event, by its name or by that of its file.
func (h *httpAPI) eventSchema(w http.ResponseWriter, r *http.Request) {
	name := schemas.EventName(strings.TrimSuffix(r.PathValue("name"), "."+schemas.Version+".json"))
	if !slices.Contains(slices.Concat(schemas.JobEvents(), schemas.ControlEvents()), name) {
		h.refuse(w, requestID(r), ledger.Errorf(ledger.CodeNotFound, "there is no event %q: `jobledger schema ls` lists them", string(name)))
		return
	}
	text, err := schemas.JSONSchema(name)
	if err != nil {
		h.refuse(w, requestID(r), err)
		return
	}
	writeJSON(w, http.StatusOK, text)
}
