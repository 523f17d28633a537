package gateway_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	uploadID = "0193f0c2-0000-7000-8000-000000000001"
	sha      = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// uploadHeaders are those of a submit whose args were uploaded.
func uploadHeaders(bytes int, sum string) []string {
	return []string{gateway.HeaderArgsUpload, uploadID, gateway.HeaderArgsBytes, fmt.Sprint(bytes), gateway.HeaderArgsSHA256, sum}
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// largeArgs is JSON of n bytes.
func largeArgs(n int) json.RawMessage {
	const head, tail = `{"fill":"`, `"}`
	return json.RawMessage(head + strings.Repeat("0123456789abcdef", n/16+1)[:n-len(head)-len(tail)] + tail)
}

// collect removes what no event names, however young.
func (w *world) collect() ledger.Collected {
	w.t.Helper()
	c, err := ledger.NewCollector(ledger.CollectorConfig{Ledger: w.NewLedger(), Logger: zap.NewNop(), Grace: time.Nanosecond})
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := c.Look(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// finishLarge ends a running job with a result by reference, as its worker does.
func (w *world) finishLarge(j *ledger.Job, result []byte) {
	w.t.Helper()
	id := schemas.NewEventID()
	ref, err := w.Ledger.StoreResult(w.t.Context(), j.Org, j.ID, id, result)
	if err != nil {
		w.t.Fatal(err)
	}
	_, _, err = w.Ledger.Do(w.t.Context(), j.Org, j.ID, &ledger.Outcome{Fence: j.Fence, Generation: j.Generation, Attempt: j.Attempt,
		Kind: schemas.EventCompleted, ResultRef: ref, Now: time.Now()}, ledger.Meta{EventID: id})
	if err != nil {
		w.t.Fatal(err)
	}
}

// args and results of every size through the one door: in the request, in a request over the inline limit, in
// parts; in the record, in the result, page by page. The client hides the difference.
func TestLargePayloads(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, n := range []int{200, schemas.ResultMax + 1, 600 << 10, schemas.ArgsMax + 1, 9 << 20} { // 8 MiB fit into one message
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			want := largeArgs(n)
			r := ledger.SubmitRequest{Type: "echo", Args: want}
			submitted, err := w.client.Submit(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := w.client.Submit(t.Context(), r); err != nil || !again.Duplicate || again.ID != submitted.ID {
				t.Errorf("the same work again: %+v, %v", again, err)
			}
			if got, err := w.client.Payload(t.Context(), submitted.ID, gateway.PayloadArgs); err != nil || !bytes.Equal(got, want) {
				t.Errorf("args come back as %d bytes, %v", len(got), err)
			}
			if _, err := w.client.Payload(t.Context(), submitted.ID, gateway.PayloadResult); code(err) != ledger.CodeInvalidState {
				t.Errorf("result of an unfinished job: %v", err)
			}
			w.finishLarge(w.start(submitted.ID), want)
			result, err := w.client.Result(t.Context(), submitted.ID)
			if err != nil || !bytes.Equal(result.Result, want) || result.Bytes != int64(n) || result.Ref == nil {
				t.Errorf("result is %d bytes, %v", len(result.Result), err)
			}
			record, err := w.client.Get(t.Context(), submitted.ID)
			if err != nil {
				t.Fatal(err)
			}
			if followed := n <= 512<<10; followed != bytes.Equal(record.Result, want) || !followed && string(record.Result) != "null" {
				t.Errorf("the record holds a result of %d bytes", len(record.Result))
			}
			if byRef := n > schemas.ArgsMax; byRef != (record.ArgsRef != nil) || byRef == bytes.Equal(record.Args, want) {
				t.Errorf("the record holds args of %d bytes and the reference %+v", len(record.Args), record.ArgsRef)
			}
		})
	}
	// The duplicates have left their objects: a repetition of their request may still have wanted them.
	if got := w.collect(); got.Removed < 2 {
		t.Errorf("collected %+v, want the args of two duplicates to go", got)
	}
	if got := w.collect(); got.Removed != 0 || got.Judged != 2+5 {
		t.Errorf("collected %+v, want the args of two jobs and five results to stay", got)
	}
}

// no payload of another org is seen, whatever a caller names.
func TestPayloadsOfOthers(t *testing.T) {
	t.Parallel()
	w := start(t)
	secret := largeArgs(schemas.ArgsMax + 1)
	submitted, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Args: secret})
	if err != nil {
		t.Fatal(err)
	}
	w.refused(ledger.CodeNotFound, "evil.payload."+string(submitted.ID), `{"of":"args"}`)
	w.refused(ledger.CodeNotFound, "evil.resubmit."+string(submitted.ID), `{"reason":"mine"}`)
	// Uploads of the same id are of each org alone.
	w.ask("acme.upload."+uploadID, "1")
	w.refused(ledger.CodeInvalidArgument, "evil.submit.echo", "", uploadHeaders(1, sumOf([]byte("1")))...)
	if r := w.ask("acme.submit.echo", "", uploadHeaders(1, sumOf([]byte("1")))...); r.Header.Get("Nats-Service-Error") != "" {
		t.Errorf("one's own upload: %s", r.Data)
	}
}

// An upload in parts is idempotent: what is sent again because no answer came is stored once, and a submit that is
// repeated still finds it. What is never submitted is collected.
func TestUploadInParts(t *testing.T) {
	t.Parallel()
	w := start(t)
	part := func(body string, after ...string) string {
		t.Helper()
		var headers []string
		for _, a := range after {
			headers = []string{gateway.HeaderUploadAfter, a}
		}
		reply := w.ask("acme.upload."+uploadID, body, headers...)
		var got gateway.UploadReply
		if err := json.Unmarshal(reply.Data, &got); err != nil || got.Cursor == "" {
			t.Fatalf("upload answered %s", reply.Data)
		}
		return got.Cursor
	}
	first := part(`{"a":`)
	if again := part(`{"a":`); again != first {
		t.Errorf("the first part was stored at %s and %s", first, again)
	}
	second := part(`1}`, first)
	if again := part(`1}`, first); again != second {
		t.Errorf("the second part was stored at %s and %s", second, again)
	}
	w.refused(ledger.CodeInvalidArgument, "acme.upload."+uploadID, `2}`, gateway.HeaderUploadAfter, first)
	w.refused(ledger.CodeInvalidArgument, "acme.submit.echo", "", uploadHeaders(7, sha)...)                      // other bytes
	w.refused(ledger.CodeInvalidArgument, "acme.submit.echo", "", uploadHeaders(8, sumOf([]byte(`{"a":1}`)))...) // not all there
	var submitted, again gateway.SubmitReply
	for _, into := range []*gateway.SubmitReply{&submitted, &again} { // the second as if the first answer had been lost
		headers := append(uploadHeaders(7, sumOf([]byte(`{"a":1}`))), gateway.HeaderRequestID, uploadID)
		reply := w.ask("acme.submit.echo", "", headers...)
		if err := json.Unmarshal(reply.Data, into); err != nil || into.ID == "" {
			t.Fatalf("submit answered %s", reply.Data)
		}
	}
	if again != submitted {
		t.Errorf("the repeated request was answered %+v, then %+v", submitted, again)
	}
	if record, err := w.client.Get(t.Context(), submitted.ID); err != nil || string(record.Args) != `{"a":1}` {
		t.Errorf("args are %s, %v", record.Args, err)
	}
	w.ask("acme.upload."+uploadID, "") // an empty part ends it
	if got := w.collect(); got.Judged != 0 {
		t.Errorf("the upload was left: %+v", got)
	}
	part(`"never submitted"`)
	if got := w.collect(); got.Removed != 1 {
		t.Errorf("collected %+v, want the upload that nobody submitted", got)
	}
}
