package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// One request submits, with no library, and every verb answers about the job (INTERFACE 4).
func TestStory(t *testing.T) {
	t.Parallel()
	w := start(t)
	args := `{"name": "Ada",  "big":12345678901234567890}`
	reply := w.ask("acme.submit.echo", args, "Jobledger-Priority", "high", "jobledger-tag", "env=test", "Jobledger-Tag", "team=a=b",
		"Jobledger-Queue", "mail", "Jobledger-Max-Attempts", "2", "Jobledger-Run-Timeout", "90s", "Jobledger-Principal", "user:bob")
	var submitted gateway.SubmitReply
	if err := json.Unmarshal(reply.Data, &submitted); err != nil || submitted.Org != "acme" || submitted.Duplicate || submitted.Seq == 0 {
		t.Fatalf("submit answered %s, %v", reply.Data, err)
	}
	id := submitted.ID
	got := string(w.ask("acme.get."+string(id), "").Data)
	for _, part := range []string{`"args":` + args, `"state":"submitted"`, `"reason":"unserved"`, `"priority":"high"`, `"queue":"mail"`,
		`"tags":{"env":"test","team":"a=b"}`, `"max_attempts":2`, `"run_timeout_s":90`, `"submitted_by":"user:ada"`, `"owner":"user:bob"`,
		`"attempts":[]`, `"result":null`, `"steps"`} {
		if has := strings.Contains(got, part); has == (part == `"steps"`) { // no progress yet, so no steps
			t.Errorf("get answered %s; looked for %s", got, part)
		}
	}
	if details := w.refused(ledger.CodeInvalidState, "acme.result."+string(id), ""); details["state"] != "submitted" {
		t.Errorf("result of an unfinished job has details %v", details)
	}

	j := w.start(id)
	waited := make(chan *ledger.Record, 1)
	go func() {
		r, err := w.client.Wait(t.Context(), id)
		if err != nil {
			t.Error(err)
		}
		waited <- r
	}()
	w.finish(j, `{"said": "Ada" }`)
	if r := <-waited; r == nil || r.State != schemas.StateCompleted || string(r.Result) != `{"said": "Ada" }` {
		t.Errorf("wait answered %+v", r)
	}
	if got := string(w.ask("acme.result."+string(id), "").Data); !strings.HasSuffix(got, `"result":{"said": "Ada" }}`) {
		t.Errorf("result answered %s", got)
	}
	lines, err := w.client.History(t.Context(), id)
	if err != nil || len(lines) != 4 || lines[0].Event != schemas.EventSubmitted || lines[0].Actor != "user:ada" || lines[3].Event != schemas.EventCompleted {
		t.Errorf("history answered %+v, %v", lines, err)
	}
	r, err := w.client.Get(t.Context(), id)
	if err != nil || len(r.Attempts) != 1 || r.Attempts[0].Worker != "w-1" {
		t.Errorf("get answered %+v, %v", r, err)
	}
}

// Identical work is accepted once, however many submit it at the same moment (R-06, R-906, C30).
func TestConcurrentSubmits(t *testing.T) {
	t.Parallel()
	w := start(t)
	const n = 64
	var wg sync.WaitGroup
	replies := make([]*gateway.SubmitReply, n)
	for i := range n {
		wg.Go(func() {
			c := &gateway.Client{Conn: w.client.Conn, Org: "acme", Timeout: time.Minute}
			r, err := c.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Args: []byte(`{"x":1}`)})
			if err != nil {
				t.Error(err)
				return
			}
			replies[i] = r
		})
	}
	wg.Wait()
	fresh := 0
	for _, r := range replies {
		if r == nil || r.ID != replies[0].ID {
			t.Fatalf("replies name several jobs: %+v and %+v", r, replies[0])
		}
		if !r.Duplicate {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("%d submits were not duplicates, want 1", fresh)
	}
	if _, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Args: []byte(`{"x":1}`), OnDuplicate: ledger.DuplicateError}); code(err) != ledger.CodeDuplicate {
		t.Errorf("a duplicate on request is %v", err)
	}
}

// A repetition of an unanswered request is no duplicate, also without content id; a request that differs is
// another one (INTERFACE 2.4).
func TestRepeatedRequest(t *testing.T) {
	t.Parallel()
	w := start(t)
	id := uuid.NewString()
	var first, again gateway.SubmitReply
	for _, into := range []*gateway.SubmitReply{&first, &again} {
		if err := json.Unmarshal(w.ask("acme.submit.echo", "{}", gateway.HeaderRequestID, id, gateway.HeaderDedup, "off").Data, into); err != nil {
			t.Fatal(err)
		}
	}
	if again != first || string(first.ID) != id {
		t.Errorf("the repetition answered %+v, the first %+v", again, first)
	}
	// The same id for other work is not that work's answer.
	other := w.ask("acme.submit.echo", `{"other":1}`, gateway.HeaderRequestID, id, gateway.HeaderDedup, "off")
	var reply gateway.SubmitReply
	if err := json.Unmarshal(other.Data, &reply); err != nil || reply.ID == first.ID {
		t.Errorf("other work under the same request id answered %s", other.Data)
	}
}

// Bad input is a clear error and stores nothing (issue: bad input).
func TestHostileInput(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *gateway.Config) { c.RegisterUnknown = false })
	if _, err := w.client.TypeAdd(t.Context(), gateway.Type{Name: "echo", Schema: json.RawMessage(
		`{"type":"object","properties":{"to":{"type":"object","properties":{"mail":{"type":"string"}}}},"required":["to"]}`)}); err != nil {
		t.Fatal(err)
	}
	before := w.end()
	ok := `{"to":{"mail":"a@example.net"}}`
	for _, c := range []struct {
		name, subject, body string
		headers             []string
		code                ledger.Code
		field               string
	}{
		{"org", "a%b.submit.echo", ok, nil, ledger.CodeInvalidArgument, "org"},
		{"long org", strings.Repeat("a", 65) + ".submit.echo", ok, nil, ledger.CodeInvalidArgument, "org"},
		{"type", "acme.submit.é", ok, nil, ledger.CodeInvalidArgument, "name"},
		{"unknown type", "acme.submit.nothing", ok, nil, ledger.CodeUnknownType, "type"},
		{"not JSON", "acme.submit.echo", `{"to":`, nil, ledger.CodeInvalidArgument, "args"},
		{"two values", "acme.submit.echo", ok + ok, nil, ledger.CodeInvalidArgument, "args"},
		{"schema", "acme.submit.echo", `{"to":{"mail":7}}`, nil, ledger.CodeInvalidArgument, "args/to/mail"},
		{"required", "acme.submit.echo", `{}`, nil, ledger.CodeInvalidArgument, "args"},
		{"too large", "acme.submit.echo", "", uploadHeaders(schemas.PayloadMax+1, sha), ledger.CodePayloadTooLarge, "args"},
		{"upload and body", "acme.submit.echo", ok, uploadHeaders(2, sha), ledger.CodeInvalidArgument, "args_upload"},
		{"nothing uploaded", "acme.submit.echo", "", uploadHeaders(2, sha), ledger.CodeInvalidArgument, "args_upload"},
		{"no digest", "acme.submit.echo", "", uploadHeaders(2, "x"), ledger.CodeInvalidArgument, "args_sha256"},
		{"no upload", "acme.submit.echo", "", []string{"Jobledger-Args-Upload", "../x"}, ledger.CodeInvalidArgument, "args_upload"},
		{"upload id", "acme.upload.x", "1", nil, ledger.CodeInvalidArgument, "args_upload"},
		{"upload cursor", "acme.upload." + uploadID, "1", []string{"Jobledger-Upload-After", "0"}, ledger.CodeInvalidArgument, "upload_after"},
		{"large part", "acme.upload." + uploadID, strings.Repeat("x", gateway.PartMax+1), nil, ledger.CodeInvalidArgument, "part"},
		{"payload of", "acme.payload.nobody", `{"of":"secrets"}`, nil, ledger.CodeInvalidArgument, "of"},
		{"payload cursor", "acme.payload.nobody", `{"of":"args","cursor":"1"}`, nil, ledger.CodeInvalidArgument, "cursor"},
		{"no payload", "acme.payload.nobody", `{"of":"args"}`, nil, ledger.CodeNotFound, ""},
		{"priority", "acme.submit.echo", ok, []string{"Jobledger-Priority", "urgent"}, ledger.CodeInvalidArgument, "priority"},
		{"attempts", "acme.submit.echo", ok, []string{"Jobledger-Max-Attempts", "many"}, ledger.CodeInvalidArgument, "max_attempts"},
		{"timeout", "acme.submit.echo", ok, []string{"Jobledger-Run-Timeout", "90"}, ledger.CodeInvalidArgument, "run_timeout"},
		{"time", "acme.submit.echo", ok, []string{"Jobledger-Not-Before", "tomorrow"}, ledger.CodeInvalidArgument, "not_before"},
		{"tag", "acme.submit.echo", ok, []string{"Jobledger-Tag", "novalue"}, ledger.CodeInvalidArgument, "tag"},
		{"reserved id", "acme.submit.echo", ok, []string{"Jobledger-Job-Id", "_mine"}, ledger.CodeInvalidArgument, "id"},
		{"parent", "acme.submit.echo", ok, []string{"Jobledger-After", "not there!"}, ledger.CodeInvalidArgument, "after"},
		{"dedup", "acme.submit.echo", ok, []string{"Jobledger-Dedup", "on"}, ledger.CodeInvalidArgument, "dedup"},
		{"id", "acme.get.a%b", "", nil, ledger.CodeInvalidArgument, "name"},
		{"no job", "acme.get.nobody", "", nil, ledger.CodeNotFound, ""},
		{"no history", "acme.history.nobody", "", nil, ledger.CodeNotFound, ""},
		{"no wait", "acme.wait.nobody", "", nil, ledger.CodeNotFound, ""},
		{"no cancel", "acme.cancel.nobody", "", nil, ledger.CodeNotFound, ""},
		{"body", "acme.list", `[`, nil, ledger.CodeInvalidArgument, ""},
		{"limit", "acme.list", `{"limit":101}`, nil, ledger.CodeInvalidArgument, "limit"},
		{"cursor", "acme.list", `{"cursor":"x"}`, nil, ledger.CodeInvalidArgument, "cursor"},
		{"by", "acme.count", `{"by":"colour"}`, nil, ledger.CodeInvalidArgument, "by"},
		{"no type", "acme.type.info.nothing", "", nil, ledger.CodeNotFound, ""},
		{"zero attempts", "acme.type.add.x", `{"max_attempts":0}`, nil, ledger.CodeInvalidArgument, "max_attempts"},
		{"other name", "acme.type.add.x", `{"name":"y"}`, nil, ledger.CodeInvalidArgument, "name"},
		{"bad schema", "acme.type.add.x", `{"schema":{"type":"nothing"}}`, nil, ledger.CodeInvalidArgument, "schema"},
		{"remote schema", "acme.type.add.x", `{"schema":{"$ref":"http://127.0.0.1:1/s.json"}}`, nil, ledger.CodeInvalidArgument, "schema"},
	} {
		details := w.refused(c.code, c.subject, c.body, c.headers...)
		if got, _ := details["field"].(string); got != c.field {
			t.Errorf("%s: the error names field %q, want %q", c.name, got, c.field)
		}
	}
	if after := w.end(); after != before {
		t.Errorf("refused requests stored %d events", after-before)
	}
	if r := w.ask("acme.submit.echo", ok); r.Header.Get("Nats-Service-Error") != "" {
		t.Errorf("good args are refused: %s", r.Data)
	}
}

// No header of a caller reaches the ledger, whatever it would do there (ENGINE 9, R-604).
func TestNoHeaderIsForwarded(t *testing.T) {
	t.Parallel()
	w := start(t)
	reply := w.ask("acme.submit.echo", "{}", "Nats-Rollup", "all", "Nats-Expected-Stream", "OTHER", "Nats-TTL", "1s",
		"Nats-Expected-Last-Subject-Sequence", "77", "Nats-Schedule-Target", "jobs.other.x", "ce-id", "mine", "ce-source", "/orgs/other",
		"ce-authid", "root", "Authorization", "secret", "X-Custom", "1", "traceparent", "00-1-2-01")
	var submitted gateway.SubmitReply
	if err := json.Unmarshal(reply.Data, &submitted); err != nil || submitted.Seq == 0 {
		t.Fatalf("submit answered %s", reply.Data)
	}
	s, err := w.Ledger.JetStream().Stream(t.Context(), ledger.StreamLedger)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(t.Context(), uint64(submitted.Seq))
	if err != nil {
		t.Fatal(err)
	}
	ours := []string{"ce-specversion", "ce-id", "ce-source", "ce-type", "ce-authtype", "ce-authid", "traceparent", "Nats-Msg-Id", "Nats-Expected-Last-Subject-Sequence",
		"Nats-Sequence", "Nats-Time-Stamp", "Nats-Stream", "Nats-Subject"} // the last four are of the reading
	for k, v := range m.Header {
		if !slices.Contains(ours, k) || v[0] == "mine" || v[0] == "root" || v[0] == "77" {
			t.Errorf("the event has header %s: %s", k, v)
		}
	}
}

// A job of another org is not found, exactly like one that does not exist, by every verb.
func TestForeignOrg(t *testing.T) {
	t.Parallel()
	w := start(t)
	r, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Args: []byte(`{"secret":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"get", "history", "wait", "result", "cancel"} {
		own := w.ask("other."+verb+"."+string(r.ID), "")
		none := w.ask("other."+verb+"."+strings.Repeat("n", len(r.ID)), "")
		blank := func(m *nats.Msg) string {
			var env map[string]map[string]any
			if err := json.Unmarshal(m.Data, &env); err != nil {
				t.Fatal(err)
			}
			delete(env["error"], "request_id")
			return strings.NewReplacer(string(r.ID), "ID", strings.Repeat("n", len(r.ID)), "ID").Replace(fmt.Sprint(env))
		}
		if blank(own) != blank(none) || !strings.Contains(blank(own), "not_found") {
			t.Errorf("%s of a foreign job answers %s, of none %s", verb, own.Data, none.Data)
		}
	}
	other := &gateway.Client{Conn: w.client.Conn, Org: "other"}
	list, err := other.List(t.Context(), gateway.ListRequest{MinSeq: w.end()})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("the other org lists %+v, %v", list, err)
	}
	count, err := other.Count(t.Context(), gateway.CountRequest{})
	if err != nil || count.Total != 0 {
		t.Errorf("the other org counts %+v, %v", count, err)
	}
}

// Lists page newest first without gap or repetition while jobs come in, and filter; counts are exact
// (INTERFACE 2.1, 2.2, R-44).
func TestListAndCount(t *testing.T) {
	t.Parallel()
	w := start(t)
	for i := range 7 {
		typ := schemas.TypeName([]string{"mail", "fax"}[i%2])
		if _, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: typ, ID: schemas.JobID(fmt.Sprintf("j%d", i)),
			Tags: map[string]string{"n": fmt.Sprint(i)}, Delay: time.Duration(i/6) * time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	w.finish(w.start("j0"), `1`)
	var ids []string
	req := gateway.ListRequest{Limit: 3, MinSeq: w.end()}
	for {
		page, err := w.client.List(t.Context(), req)
		if err != nil || page.AsOfSeq < req.MinSeq {
			t.Fatalf("list answered %+v, %v", page, err)
		}
		for _, r := range page.Items {
			ids = append(ids, string(r.ID))
			if len(r.Args) > 0 || r.Attempts != nil {
				t.Errorf("a list shows args or attempts: %+v", r)
			}
		}
		if page.Next == nil {
			break
		}
		req.Cursor = *page.Next
		if _, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: "late", NoDedup: true}); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(ids, " "); got != "j6 j5 j4 j3 j2 j1 j0" {
		t.Errorf("pages list %s", got)
	}
	for _, c := range []struct {
		req  gateway.ListRequest
		want string
	}{
		{gateway.ListRequest{Filter: gateway.Filter{Type: []schemas.TypeName{"fax"}}}, "j5 j3 j1"},
		{gateway.ListRequest{Filter: gateway.Filter{State: []schemas.State{schemas.StateCompleted}}}, "j0"},
		{gateway.ListRequest{Filter: gateway.Filter{Reason: []string{"scheduled"}}}, "j6"},
		{gateway.ListRequest{Filter: gateway.Filter{Tags: map[string]string{"n": "4"}}}, "j4"},
	} {
		page, err := w.client.List(t.Context(), c.req)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range page.Items {
			got = append(got, string(r.ID))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("filter %+v lists %v, want %s", c.req, got, c.want)
		}
	}
	for by, want := range map[string]string{
		"":              "9 [{submitted 8} {queued 0} {running 0} {retrying 0} {completed 1} {canceled 0} {dead_lettered 0}]",
		gateway.ByType:  "9 [{mail 4} {fax 3} {late 2}]",
		gateway.ByQueue: "9 [{default 9}]",
	} {
		count, err := w.client.Count(t.Context(), gateway.CountRequest{By: by, MinSeq: w.end()})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(count.Total, count.Items); got != strings.ReplaceAll(want, " [", " [") {
			t.Errorf("count by %q is %s, want %s", by, got, want)
		}
	}
}

// Types are set, changed and read back with the policy in force.
func TestTypes(t *testing.T) {
	t.Parallel()
	w := start(t)
	attempts, timeout, off, reason := 3, 45.0, "off", "as agreed"
	added, err := w.client.TypeAdd(t.Context(), gateway.Type{Name: "fax", Queue: "lines", MaxAttempts: &attempts, RunTimeoutS: &timeout,
		Dedup: &off, Backoff: &gateway.Backoff{BaseS: 2, Factor: 3, CapS: 60}, Reason: &reason})
	if err != nil || added.Seq == nil {
		t.Fatalf("add answered %+v, %v", added, err)
	}
	info, err := w.client.Type(t.Context(), "fax")
	if err != nil || info.Queue != "lines" || *info.MaxAttempts != 3 || *info.RunTimeoutS != 45 || *info.Dedup != "off" ||
		*info.GraceS != 30 || info.Backoff.Factor != 3 || info.Priority != schemas.PriorityNormal || !*info.Enabled {
		t.Errorf("info answered %+v, %v", info, err)
	}
	if again, err := w.client.TypeAdd(t.Context(), *info); err != nil || *again.MaxAttempts != 3 {
		t.Errorf("what info tells cannot be added: %+v, %v", again, err)
	}
	disabled := false
	if _, err := w.client.TypeAdd(t.Context(), gateway.Type{Name: "old", Enabled: &disabled}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: "old"}); code(err) != ledger.CodeTypeDisabled {
		t.Errorf("a submit of a disabled type is %v", err)
	}
	all, err := w.client.Types(t.Context())
	if err != nil || len(all.Items) != 2 || all.Items[0].Name != "fax" || all.Items[1].Name != "old" {
		t.Errorf("types are %+v, %v", all, err)
	}
}

// Cancel is immediate for a waiting job, a stored request and a signal for a running one, and done already
// is well.
func TestCancel(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, id := range []schemas.JobID{"waiting", "running", "done"} {
		if _, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if r, err := w.client.Cancel(t.Context(), "waiting", "no more"); err != nil || r.State != schemas.StateCanceled || r.Requested {
			t.Errorf("cancel of a waiting job answered %+v, %v", r, err)
		}
	}
	signals, err := w.client.Conn.SubscribeSync(ledger.SubjectCancel("session"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.client.Conn.Flush(); err != nil {
		t.Fatal(err)
	}
	j := w.start("running")
	if r, err := w.client.Cancel(t.Context(), "running", "stop"); err != nil || r.State != schemas.StateRunning || !r.Requested {
		t.Errorf("cancel of a running job answered %+v, %v", r, err)
	}
	m, err := signals.NextMsg(time.Minute)
	var signal ledger.CancelSignal
	if err != nil || json.Unmarshal(m.Data, &signal) != nil || signal.Fence != j.Fence {
		t.Errorf("the worker's session heard %+v, %v", signal, err)
	}
	w.finish(w.start("done"), `1`)
	if _, err := w.client.Cancel(t.Context(), "done", "late"); code(err) != ledger.CodeInvalidState {
		t.Errorf("cancel of a completed job is %v", err)
	}
}

// A duplicate stands for the job it names: whoever waits for it waits for that one (DESIGN D4).
func TestWaitFollowsDuplicates(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, id := range []schemas.JobID{"first", "second"} {
		if _, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	w.do("second", &ledger.Cancel{Reason: "duplicate", DuplicateOf: &schemas.JobRef{ID: "first", Generation: 1}})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if r, err := w.client.Wait(ctx, "second"); !errors.Is(err, context.DeadlineExceeded) || r == nil || r.ID != "first" {
		t.Errorf("wait for an unfinished job ended with %+v, %v", r, err)
	}
	w.finish(w.start("first"), `1`)
	if r, err := w.client.Wait(t.Context(), "second"); err != nil || r.ID != "first" || r.State != schemas.StateCompleted {
		t.Errorf("wait for a duplicate answered %+v, %v", r, err)
	}
}

// A long history comes in pages and whole (INTERFACE 4).
func TestHistoryPages(t *testing.T) {
	t.Parallel()
	w := start(t)
	args := `"` + strings.Repeat("x", 300<<10) + `"`
	for range 4 { // generations of one id
		if _, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", ID: "again", Args: []byte(args)}); err != nil {
			t.Fatal(err)
		}
		w.do("again", &ledger.Cancel{})
		window := 0.0
		if _, err := w.client.TypeAdd(t.Context(), gateway.Type{Name: "echo", DedupWindowS: &window}); err != nil {
			t.Fatal(err)
		}
	}
	lines, err := w.client.History(t.Context(), "again")
	if err != nil {
		t.Fatal(err)
	}
	submits := 0
	for i, l := range lines {
		if i > 0 && l.Seq <= lines[i-1].Seq {
			t.Errorf("event %d comes after %d", l.Seq, lines[i-1].Seq)
		}
		if l.Event == schemas.EventSubmitted {
			submits++
		}
	}
	if len(lines) != 2*submits || submits < 2 {
		t.Errorf("history has %d events of %d generations", len(lines), submits)
	}
}
