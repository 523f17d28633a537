package ledger

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// story folds data in order, one second and one sequence apart, and returns the events with the job.
func story(t *testing.T, data ...func(*Job) schemas.Data) (*Job, []*schemas.Event) {
	t.Helper()
	j := new(Job)
	var events []*schemas.Event
	for i, next := range data {
		e := schemas.NewEvent(schemas.JobSubject("acme", "j1"), next(j))
		e.Seq, e.Time = schemas.Seq(i+1), time.Date(2026, 11, 23, 14, 0, i, 0, time.UTC)
		if !Apply(j, e) {
			t.Fatalf("event %d, %s, is illegal in state %s", i+1, e.Name(), j.State)
		}
		events = append(events, e)
	}
	return j, events
}

func submitted(args string) func(*Job) schemas.Data {
	return func(j *Job) schemas.Data {
		return &schemas.Submitted{From: j.State, Type: "echo", Queue: "default", Priority: schemas.PriorityNormal,
			Generation: j.Generation + 1, Args: json.RawMessage(args)}
	}
}

func queued(j *Job) schemas.Data {
	return &schemas.Queued{Head: j.Head(), Policy: schemas.DefaultPolicy(), Epoch: 1}
}

func running(j *Job) schemas.Data {
	return &schemas.Running{Head: j.Head(), Attempt: j.Attempt + 1, Session: "s", Worker: "w"}
}

func failed(j *Job) schemas.Data {
	return &schemas.Failed{AttemptHead: j.AttemptHead(), Error: schemas.JobError{Class: schemas.ClassTransient, Message: "no"}, DelayMS: 1000}
}

func completed(j *Job) schemas.Data {
	return &schemas.Completed{AttemptHead: j.AttemptHead(), Result: json.RawMessage(`{ "n": 9007199254740993 }`)}
}

func checkpointed(j *Job) schemas.Data {
	return &schemas.Checkpointed{AttemptHead: j.AttemptHead(), Checkpoint: json.RawMessage(`{"page":7}`)}
}

// TestLastProgress shows R-29: what a worker said last stays with however the attempt ended, and never passes
// for the progress of the attempt after it.
func TestLastProgress(t *testing.T) {
	last := &schemas.Progress{Percent: 40, Message: "half"}
	for _, kind := range []schemas.EventName{schemas.EventCompleted, schemas.EventFailed, schemas.EventTimedOut, schemas.EventCanceled, schemas.EventReleased} {
		outcome := func(j *Job) schemas.Data {
			data, err := Decide(j, &Outcome{Fence: j.Fence, Generation: 1, Attempt: 1, Kind: kind, Progress: last})
			if err != nil {
				t.Fatal(err)
			}
			return data
		}
		j, _ := story(t, submitted("1"), queued, running, outcome)
		if r := RecordOf(j); r.Progress == nil || r.Progress.Percent != 40 || *r.Progress.Message != "half" {
			t.Errorf("%s keeps progress %+v", kind, r.Progress)
		}
	}
	j, _ := story(t, submitted("1"), queued, running, func(j *Job) schemas.Data {
		return &schemas.Released{AttemptHead: j.AttemptHead(), Cause: schemas.ReleaseDrain, Progress: last}
	}, running)
	if j.Progress != nil {
		t.Errorf("a new attempt begins with progress %+v", j.Progress)
	}
}

// TestRecordKeys shows INTERFACE 2.5: every key is there, null without value, args and result byte for
// byte; a document lacks exactly args, result, checkpoint_bytes, attempts and steps.
func TestRecordKeys(t *testing.T) {
	args := `{"b": 1,  "a":12345678901234567890}`
	j, _ := story(t, submitted(args), queued, running, completed)
	r := RecordOf(j)
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(body), `"args":`+args) || !strings.Contains(string(body), `"result":{ "n": 9007199254740993 }`) {
		t.Errorf("args or result were rewritten: %s", body)
	}
	keys := func(b []byte) []string {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		var ks []string
		for k := range m {
			ks = append(ks, k)
		}
		slices.Sort(ks)
		return ks
	}
	want := strings.Fields(`id org type queue state reason priority attempt max_attempts progress args result error
		submitted_at queued_at started_at finished_at retry_at submitted_by parents seq
		generation attempts_used flags owner tags batch key not_before deadline worker canceled_at resolution
		result_ref children correlation_id causation_id submitted_seq run_timeout_s cancel args_ref event_id checkpoint_bytes`)
	slices.Sort(want)
	if got := keys(body); !slices.Equal(got, want) {
		t.Errorf("record has keys\n%v\nwant\n%v", got, want)
	}
	doc, err := Document(j)
	if err != nil {
		t.Fatal(err)
	}
	want = slices.DeleteFunc(want, func(k string) bool { return k == "args" || k == "result" || k == "checkpoint_bytes" })
	if got := keys(doc); !slices.Equal(got, want) {
		t.Errorf("document has keys\n%v\nwant\n%v", got, want)
	}
	var back Record
	if err := json.Unmarshal(body, &back); err != nil {
		t.Fatal(err)
	}
	if again, _ := back.Encode(); string(again) != string(body) {
		t.Errorf("record changed in a round trip:\n%s\n%s", body, again)
	}
}

// TestReasonAt shows R-229: the reason of a waiting job is computed at read time.
func TestReasonAt(t *testing.T) {
	j, _ := story(t, func(j *Job) schemas.Data {
		s := submitted("1")(j).(*schemas.Submitted)
		s.DelayMS, s.Parents = 60_000, []schemas.ParentRef{{ID: "p", Generation: 1}}
		return s
	})
	r := RecordOf(j)
	for _, c := range []struct {
		after time.Duration
		done  bool
		want  string
	}{{0, true, ReasonScheduled}, {time.Minute, false, ReasonWaitingOnParent}, {time.Minute, true, ReasonReady}} {
		if got := r.ReasonAt(j.SubmittedAt.Add(c.after), c.done); got != c.want {
			t.Errorf("%s after submit, parents done %t: reason %q, want %q", c.after, c.done, got, c.want)
		}
	}
}

// TestAttemptList shows R-32: each attempt keeps its worker, start, end, outcome and error.
func TestAttemptList(t *testing.T) {
	_, events := story(t, submitted("1"), queued, running, checkpointed, failed, queued, running, completed)
	var l AttemptList
	for _, e := range events {
		l.Apply(e)
	}
	if len(l) != 2 || *l[0].Outcome != schemas.EventFailed || l[0].Error.Message != "no" || *l[1].Outcome != schemas.EventCompleted {
		t.Errorf("attempts are %+v", l)
	}
	if l[0].CheckpointBytes == nil || *l[0].CheckpointBytes != len(`{"page":7}`) || l[1].CheckpointBytes != nil {
		t.Errorf("checkpoints are of %v and %v bytes", l[0].CheckpointBytes, l[1].CheckpointBytes)
	}
}

// TestCountsIgnoreIllegal shows that an illegal event counts nothing, and that a re-used id is one job.
func TestCountsIgnoreIllegal(t *testing.T) {
	_, events := story(t, submitted("1"), queued, running, completed, submitted("2"))
	illegal := *events[2] // a second claim of the first generation, after the second began
	illegal.Seq = 6
	events = append(events, &illegal)
	j, c := new(Job), Counts{}
	for _, e := range events {
		before := StandingOf(j)
		Apply(j, e)
		c.Apply(before, StandingOf(j))
	}
	if got := c.Total(); got != (Count{Submitted: 1}) || j.Illegal != 1 {
		t.Errorf("counts are %+v with %d illegal events, want one submitted job and one illegal event", got, j.Illegal)
	}
}

// TestDocumentIsTheEncodedRecord shows that the document written by hand is what the encoder makes of the
// record, for jobs with every field set to something, one after the other and together.
func TestDocumentIsTheEncodedRecord(t *testing.T) {
	same := func(path string, j *Job) {
		t.Helper()
		r := summaryOf(j)
		want, err := schemas.SpliceJSON(&r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Document(j)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: the document is\n%s, %v\nand the record\n%s", path, got, err, want)
		}
	}
	all := reflect.ValueOf(&Job{SubmittedAt: time.Unix(1, 2).UTC()}).Elem()
	var vary func(path string, of func(reflect.Value) reflect.Value, typ reflect.Type)
	vary = func(path string, of func(reflect.Value) reflect.Value, typ reflect.Type) {
		if typ.Kind() == reflect.Struct && typ != reflect.TypeFor[time.Time]() {
			for i := range typ.NumField() {
				vary(path+"."+typ.Field(i).Name, func(v reflect.Value) reflect.Value { return of(v).Field(i) }, typ.Field(i).Type)
			}
			return
		}
		for _, state := range []schemas.State{schemas.StateSubmitted, schemas.StateCanceled, schemas.StateDeadLettered} {
			for n := range 2 {
				one := &Job{SubmittedAt: time.Unix(1, 0).UTC(), State: state}
				some(of(reflect.ValueOf(one).Elem()), n)
				same(path, one)
			}
		}
		some(of(all), 1)
		same("all up to "+path, all.Addr().Interface().(*Job))
	}
	vary("Job", func(v reflect.Value) reflect.Value { return v }, reflect.TypeFor[Job]())
}

// some sets v to a value that is not zero; the second is one that JSON has to escape or shorten.
func some(v reflect.Value, n int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString([]string{"plain", "a\"b\\c<é>\n\u2028"}[n])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt([]int64{7, 1_500}[n])
	case reflect.Uint64:
		v.SetUint(1 << 60)
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		some(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte("1"))
		} else {
			some(v.Index(0), n)
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"k": "v<", "a": ""}))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 11, 23, 14, 0, 0, []int{0, 120_000_000}[n], time.FixedZone("", 3600))))
			return
		}
		for i := range v.NumField() {
			some(v.Field(i), n)
		}
	}
}

func BenchmarkDocument(b *testing.B) {
	j := &Job{Org: "acme", ID: schemas.NewJobID(), Generation: 1, State: schemas.StateCompleted, Policy: schemas.DefaultPolicy(), Attempt: 1,
		Spec: schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal}, Worker: "w-1",
		SubmittedAt: time.Now(), QueuedAt: time.Now(), StartedAt: time.Now(), FinishedAt: time.Now(), LastID: schemas.NewEventID(), LastSeq: 4}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Document(j); err != nil {
			b.Fatal(err)
		}
	}
}
