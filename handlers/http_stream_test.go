package handlers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// stream answers in StreamType, line by line.
func stream(t *testing.T, lines ...string) string {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", StreamType+"; charset=utf-8")
		for _, line := range lines {
			_, _ = io.WriteString(w, line+"\n")
			w.(http.Flusher).Flush()
		}
	})
}

// TestHTTPStream shows that a service reports progress and saves a checkpoint while it works, and ends with a
// result, byte for byte.
func TestHTTPStream(t *testing.T) {
	a := testAttempt()
	var seen []schemas.Progress
	var saved string
	a.host = host{progressed: func() { seen = append(seen, *a.LastProgress()) },
		save: func(_ context.Context, value json.RawMessage) error { saved = string(value); return nil }}
	h := newHTTP(t, stream(t, `{"percent":10,"message":"begun","steps":["fetch","store"]}`, `not ours`, `{"step":"fetch"}`,
		`{"checkpoint":{"page": 7}}`, `{"checkpoint":"`+strings.Repeat("x", HTTPCheckpointMax)+`"}`, `{"step":"store","percent":90}`,
		`{"result":{"n" : 9007199254740993}}`, `{"percent":1}`))
	got, err := h.Run(t.Context(), a)
	if err != nil || string(got) != `{"n" : 9007199254740993}` {
		t.Errorf("got %s, %v", got, err)
	}
	want := schemas.Progress{Percent: 90, Message: "begun", Steps: []schemas.Step{{Name: "fetch", State: "done"}, {Name: "store", State: "in_progress"}}}
	if len(seen) != 3 || !reflect.DeepEqual(seen[2], want) {
		t.Errorf("progress %+v", seen)
	}
	if saved != `{"page": 7}` {
		t.Errorf("checkpoint %q", saved)
	}
}

// TestHTTPStreamEnds shows what the ends of such an answer mean.
func TestHTTPStreamEnds(t *testing.T) {
	for name, c := range map[string]struct {
		lines   []string
		class   schemas.ErrorClass
		code    string
		message string
		after   time.Duration
	}{
		"transient":   {lines: []string{`{"error":{"message":"busy","class":"transient","code":"smtp_451"},"retry_after_s":90}`}, class: schemas.ClassTransient, code: "smtp_451", message: "busy", after: 90 * time.Second},
		"permanent":   {lines: []string{`{"error":{"message":"no such user","class":"permanent"}}`}, class: schemas.ClassPermanent, message: "no such user"},
		"unknown":     {lines: []string{`{"error":{"class":"whatever"}}`}, class: schemas.ClassUnclassified, message: "the service gave no message"},
		"no end":      {lines: []string{`{"percent":99}`}, class: schemas.ClassTransient, code: CodeNetwork, message: `http: the answer ended without a line {"result":...} or {"error":{...}}`},
		"nothing":     {class: schemas.ClassTransient, code: CodeNetwork, message: `http: the answer ended without a line {"result":...} or {"error":{...}}`},
		"large":       {lines: []string{`{"result":"` + strings.Repeat("x", LineMax) + `"}`}, class: schemas.ClassPermanent, code: CodeInvalidResult, message: "http: the answer ended with a line over 131072 bytes: a larger result is answered as a plain body"},
		"null result": {lines: []string{`{"result":null}`}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newHTTP(t, stream(t, c.lines...)).Run(t.Context(), testAttempt())
			if c.class == "" {
				if err != nil || string(got) != "null" {
					t.Errorf("got %s, %v", got, err)
				}
				return
			}
			if err == nil {
				t.Fatalf("got %s", got)
			}
			if v := Classify(err, nil); v.Error.Class != c.class || c.code != "" && v.Error.Code != c.code || v.Error.Message != c.message || v.RetryAfter != c.after {
				t.Errorf("got %+v", v)
			}
		})
	}
}

// TestHTTPStreamCut shows that a connection which breaks in mid-answer is the network's failure, and that the
// end of the attempt closes one that would go on for ever.
func TestHTTPStreamCut(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", StreamType)
		_, _ = io.WriteString(w, `{"percent":10}`+"\n")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	_, err := newHTTP(t, url).Run(t.Context(), testAttempt())
	if err == nil || Classify(err, nil).Error.Class != schemas.ClassTransient {
		t.Errorf("a broken answer: %v", err)
	}
	gone := make(chan struct{})
	url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		w.Header().Set("Content-Type", StreamType)
		for r.Context().Err() == nil { // a flood
			_, err := io.WriteString(w, strings.Repeat(`{"percent":10}`+"\n", 1000))
			if err != nil {
				return
			}
		}
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	a := testAttempt()
	told := make(chan struct{}, 1)
	a.host.progressed = func() {
		select {
		case told <- struct{}{}:
		default:
		}
	}
	go func() { <-told; cancel(errTestCancel) }()
	if _, err := newHTTP(t, url).Run(ctx, a); !errors.Is(err, errTestCancel) {
		t.Errorf("a canceled attempt: %v", err)
	}
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("the service still answers")
	}
}

// TestHTTPCheckpoint shows how a service learns where an earlier attempt stopped.
func TestHTTPCheckpoint(t *testing.T) {
	for name, c := range map[string]struct{ checkpoint, want string }{
		"none":      {"", ""},
		"small":     {`{"page": 7, "name":"Ü"}`, `{"page": 7, "name":"Ü"}`},
		"too large": {`"` + strings.Repeat("x", HTTPCheckpointMax) + `"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			secrets := []string{"s3cret"}
			url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				if accept := r.Header.Get("Accept"); !strings.Contains(accept, StreamType) {
					t.Errorf("Accept: %s", accept)
				}
				got, err := base64.StdEncoding.DecodeString(r.Header.Get("jobledger-checkpoint"))
				if err != nil || string(got) != c.want {
					t.Errorf("checkpoint %s, %v", got, err)
				}
				sig := r.Header.Get("jobledger-checkpoint-signature")
				if c.want == "" {
					if sig != "" {
						t.Errorf("signature %s of nothing", sig)
					}
					return
				}
				stamp, _, _ := strings.Cut(strings.TrimPrefix(sig, "t="), ",")
				at, err := strconv.ParseInt(stamp, 10, 64)
				if want := Signature(secrets, time.Unix(at, 0), "job-1", 3, got); err != nil || sig != want {
					t.Errorf("signature %s, want %s", sig, want)
				}
			})
			h := newHTTP(t, url)
			h.Secrets = secrets
			a := testAttempt()
			a.Checkpoint = json.RawMessage(c.checkpoint)
			if _, err := h.Run(t.Context(), a); err != nil {
				t.Error(err)
			}
		})
	}
}
