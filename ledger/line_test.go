package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// reflectedLine is a HistoryLine as encoding/json writes it: what Append is held against.
func reflectedLine(t *testing.T, h HistoryLine, placed bool) []byte {
	t.Helper()
	data := schemas.RawField{Name: "data", Value: orNull(h.Data)}
	h.Data = nil
	var v any = &struct {
		*HistoryLine
		Data *struct{} `json:"data,omitempty"`
	}{HistoryLine: &h}
	if !placed {
		v = &struct {
			*HistoryLine
			Org  *struct{} `json:"org,omitempty"`
			ID   *struct{} `json:"id,omitempty"`
			Type *struct{} `json:"type,omitempty"`
			Data *struct{} `json:"data,omitempty"`
		}{HistoryLine: &h}
	}
	text, err := schemas.SpliceJSON(v, data)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Lines that are written without reflection are those that encoding/json writes, whatever stands in their fields.
func TestLinesAreThoseOfReflection(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	texts := []string{"", "a", "\"<&>\\", "\x00\x1f\x7f", "grüße \u2028", "bad \xff", strings.Repeat("z", 300)}
	text := func() string { return texts[r.IntN(len(texts))] }
	for range 2000 {
		h := HistoryLine{Seq: schemas.Seq(r.Uint64N(1 << 60)), Time: time.Unix(0, r.Int64()).UTC(), Event: schemas.EventName(text()), Actor: text(),
			Illegal: r.IntN(2) == 0, Quarantined: text(), Data: json.RawMessage([]string{"", "null", ` {"a": [1, "<"]} `, `"x"`}[r.IntN(4)])}
		if r.IntN(2) == 0 {
			org, id, typ, n, attempt := schemas.OrgID(text()), schemas.JobID(text()), schemas.TypeName(text()), r.Int(), -r.IntN(9)
			from, to, reason := schemas.State(text()), schemas.State(text()), text()
			h.Org, h.ID, h.Type, h.Generation, h.Attempt, h.From, h.To, h.Reason = &org, &id, &typ, &n, &attempt, &from, &to, &reason
		}
		placed := r.IntN(2) == 0
		got, want := h.Append([]byte("before"), placed), append([]byte("before"), reflectedLine(t, h, placed)...)
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d:\n%s\nwant\n%s", seed, got, want)
		}
	}
}

// A CloudEvent holds what the event does, in the order of the specification's attributes, and is one JSON object.
func TestCloudEventIsWhole(t *testing.T) {
	t.Parallel()
	meant := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	e := &Entry{Body: []byte("{\n\"type\": \"<echo>\"}\n"), Event: schemas.NewEvent(schemas.JobSubject("acme", "one"), &schemas.Submitted{Type: "echo"})}
	e.Seq, e.Time, e.Meant = 1234, meant.Add(time.Hour), &meant
	e.Actor, e.CausationID, e.CorrelationID = schemas.Actor{Type: "user", ID: "a\"b"}, "cause", "corr"
	e.Traceparent, e.Tracestate = "00-1-2-01", "k=v"
	want := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":%q,"type":%q,"subject":"one","time":"2026-01-02T03:04:05.000000006Z",`+
		`"datacontenttype":"application/json","authtype":"user","authid":"a\"b","causationid":"cause","correlationid":"corr",`+
		`"traceparent":"00-1-2-01","tracestate":"k=v","sequence":"00000000000000001234","recordedtime":"2026-01-02T04:04:05.000000006Z",`+
		`"data":{ "type": "<echo>"}}`, e.ID, e.Source(), e.Type())
	got, err := CloudEvent(e)
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	back1, err := ParseCloudEvent(got)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := CloudEvent(back1); err != nil || string(again) != want || back1.Org != "acme" || back1.Job != "one" {
		t.Errorf("read back, %v:\n%s of %+v", err, again, back1)
	}
	control := &Entry{Body: []byte(`{}`), Event: schemas.NewEvent(ControlLeader, &schemas.LeaderElected{})}
	control.Seq, control.Time = 7, meant
	text, err := CloudEvent(control)
	if err != nil {
		t.Fatal(err)
	}
	if back1, err = ParseCloudEvent(text); err != nil || back1.Control != control.Control || back1.Seq != 7 {
		t.Errorf("%+v, %v", back1, err)
	}
	// What is no JSON in UTF-8 is kept as bytes.
	e.Body = []byte("{\"a\":\"\xff\"}")
	var back struct {
		Data       any
		DataBase64 []byte `json:"data_base64"`
	}
	if got, err = CloudEvent(e); err != nil || json.Unmarshal(got, &back) != nil || back.Data != nil || !reflect.DeepEqual(back.DataBase64, e.Body) {
		t.Errorf("%v %s", err, got)
	}
	if line := LineOf(e); !bytes.HasSuffix(line.Append(nil, true), []byte(`,"data":null}`)) {
		t.Errorf("%s", line.Append(nil, true))
	}
}
