package schemas_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

func queuedMessage(t testing.TB) *nats.Msg {
	t.Helper()
	e := schemas.NewEvent(schemas.JobSubject("acme", "job-1"), &schemas.Queued{Head: from(schemas.StateSubmitted), Policy: policy, Epoch: 1})
	m, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestDecodeRefuses shows what is foreign (it moves a sequence and nothing else) and what is ours but not
// readable (it makes the job read-only): DESIGN D1, D8.
func TestDecodeRefuses(t *testing.T) {
	set := func(key, value string) func(*nats.Msg) {
		return func(m *nats.Msg) { m.Header[key] = []string{value} }
	}
	body := func(old, new string) func(*nats.Msg) {
		return func(m *nats.Msg) {
			if !strings.Contains(string(m.Data), old) {
				panic("no " + old)
			}
			m.Data = []byte(strings.Replace(string(m.Data), old, new, 1))
		}
	}
	foreign, undecodable := schemas.ErrForeign, schemas.ErrUndecodable
	for name, c := range map[string]struct {
		change func(*nats.Msg)
		want   error
	}{
		"no headers":                 {func(m *nats.Msg) { m.Header = nil }, foreign},
		"no id":                      {set(schemas.HeaderID, ""), foreign},
		"no type":                    {set(schemas.HeaderType, ""), foreign},
		"another producer":           {set(schemas.HeaderType, "com.example.queued"), foreign},
		"another subject":            {func(m *nats.Msg) { m.Subject = "orders.acme.job-1" }, foreign},
		"too many tokens":            {func(m *nats.Msg) { m.Subject = "jobs.acme.job-1.x" }, foreign},
		"bad org":                    {func(m *nats.Msg) { m.Subject = "jobs.ac$me.job-1" }, foreign},
		"job event on control":       {func(m *nats.Msg) { m.Subject = "control.cell.start"; set(schemas.HeaderSource, "/cell")(m) }, foreign},
		"control event on a job":     {set(schemas.HeaderType, "jobledger.v1.cell_started"), foreign},
		"copied from another org":    {func(m *nats.Msg) { m.Subject = "jobs.evil.job-1" }, foreign},
		"no source":                  {set(schemas.HeaderSource, ""), foreign},
		"unknown event":              {set(schemas.HeaderType, "jobledger.v1.teleported"), undecodable},
		"later version":              {set(schemas.HeaderType, "jobledger.v2.queued"), undecodable},
		"later CloudEvents":          {set(schemas.HeaderSpecVersion, "2.0"), undecodable},
		"malformed body":             {body("{", "["), undecodable},
		"empty body":                 {func(m *nats.Msg) { m.Data = nil }, undecodable},
		"trailing bytes":             {func(m *nats.Msg) { m.Data = append(m.Data, '}') }, undecodable},
		"wrong kind of value":        {body(`"used":0`, `"used":"0"`), undecodable},
		"fraction where none can be": {body(`"used":0`, `"used":0.5`), undecodable},
		"type missing":               {body(`"type":"email-send",`, ``), undecodable},
		"priority of a later time":   {body(`"priority":"high"`, `"priority":"urgent"`), undecodable},
		"generation 0":               {body(`"generation":2`, `"generation":0`), undecodable},
		"malformed ce-time":          {set(schemas.HeaderTime, "yesterday"), undecodable},
	} {
		t.Run(name, func(t *testing.T) {
			m := queuedMessage(t)
			c.change(m)
			e, err := schemas.Decode(m.Subject, m.Header, m.Data, 7, aTime)
			if !errors.Is(err, c.want) || e == nil || e.Data != nil || e.Seq != 7 || !e.Time.Equal(aTime) || e.Name() != "" {
				t.Errorf("got %+v, %v, want %v and an event without data", e, err, c.want)
			}
			if errors.Is(err, foreign) && errors.Is(err, undecodable) {
				t.Errorf("%v is both", err)
			}
			if c.want == undecodable && (e.ID == "" || e.Org != "acme" || e.Job != "job-1") {
				t.Errorf("an undecodable event lost its subject or id: %+v", e)
			}
		})
	}
}

// TestDecodeTolerates shows what later additions and other clients may do within v1 (INTERFACE 5).
func TestDecodeTolerates(t *testing.T) {
	m := queuedMessage(t)
	want, err := schemas.Decode(m.Subject, m.Header, m.Data, 7, aTime)
	if err != nil {
		t.Fatal(err)
	}
	other := nats.Header{"Nats-Expected-Last-Subject-Sequence": {"6"}, "X-Other": {"1"}, "ce-later": {"x"}}
	for k, v := range m.Header {
		other[strings.ToUpper(k)] = append(v, "second value")
	}
	body := strings.Replace(string(m.Data), "{", `{"later":{"deep":[1,2]},`, 1)
	got, err := schemas.Decode(m.Subject, other, []byte(body), 7, aTime.In(time.FixedZone("x", 3600)))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestDecodeSpellings shows that of several spellings of a header every replay takes the same one.
func TestDecodeSpellings(t *testing.T) {
	for range 50 {
		m := queuedMessage(t)
		delete(m.Header, schemas.HeaderID)
		m.Header["Ce-Id"], m.Header["CE-ID"], m.Header["cE-id"] = []string{"b"}, []string{"a"}, []string{"c"}
		e, err := schemas.Decode(m.Subject, m.Header, m.Data, 7, aTime)
		if err != nil || e.ID != "a" {
			t.Fatalf("id %q, %v", e.ID, err)
		}
	}
}

// TestEncodeRefuses shows that nothing is written that could not be read again, or is over a limit.
func TestEncodeRefuses(t *testing.T) {
	job := schemas.JobSubject("acme", "job-1")
	submit := func(change func(*schemas.Submitted)) *schemas.Event {
		s := schemas.Submitted{Type: "t", Queue: "q", Priority: schemas.PriorityNormal, Generation: 1}
		change(&s)
		return schemas.NewEvent(job, &s)
	}
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, e := range map[string]*schemas.Event{
		"args that are not JSON":     submit(func(s *schemas.Submitted) { s.Args = json.RawMessage(`{"a":}`) }),
		"two args":                   submit(func(s *schemas.Submitted) { s.Args = json.RawMessage(`1 2`) }),
		"args that are not UTF-8":    submit(func(s *schemas.Submitted) { s.Args = json.RawMessage("\"\xff\"") }),
		"args over 1 MiB":            submit(func(s *schemas.Submitted) { s.Args = json.RawMessage(`"` + long(schemas.ArgsMax) + `"`) }),
		"delay that wraps":           submit(func(s *schemas.Submitted) { s.DelayMS = 1 << 62 }),
		"deadline that wraps":        submit(func(s *schemas.Submitted) { s.DeadlineMS = 1<<44 + 5 }),
		"negative delay":             submit(func(s *schemas.Submitted) { s.DelayMS = -1 }),
		"long key":                   submit(func(s *schemas.Submitted) { s.Key = long(schemas.KeyMax + 1) }),
		"long reason":                submit(func(s *schemas.Submitted) { s.Reason = long(schemas.ReasonMax + 1) }),
		"long tag":                   submit(func(s *schemas.Submitted) { s.Tags = map[string]string{"k": long(schemas.TagMax + 1)} }),
		"bad tag":                    submit(func(s *schemas.Submitted) { s.Tags = map[string]string{"a.b": ""} }),
		"resource of two tokens":     submit(func(s *schemas.Submitted) { s.Resource = "a.b" }),
		"parent without generation":  submit(func(s *schemas.Submitted) { s.Parents = []schemas.ParentRef{{ID: "p"}} }),
		"101 parents":                submit(func(s *schemas.Submitted) { s.Parents = make([]schemas.ParentRef, 101) }),
		"override out of range":      submit(func(s *schemas.Submitted) { s.Override = &schemas.Override{MaxAttempts: ptr(0)} }),
		"generation after a running": submit(func(s *schemas.Submitted) { s.From = schemas.StateRunning }),
		"no id":                      {Subject: job, Data: submit(func(*schemas.Submitted) {}).Data},
		"no subject":                 {ID: "x", Data: submit(func(*schemas.Submitted) {}).Data},
		"job event on control":       schemas.NewEvent(schemas.ControlSubject("cell", "start"), submit(func(*schemas.Submitted) {}).Data),
		"unknown kind of actor": func() *schemas.Event {
			e := submit(func(*schemas.Submitted) {})
			e.Actor = schemas.Actor{Type: "robot", ID: "x"}
			return e
		}(),
		"message id with a line feed": func() *schemas.Event {
			e := submit(func(*schemas.Submitted) {})
			e.MsgID = "a\r\nNats-Rollup: all"
			return e
		}(),
		"result over 64 KiB":          schemas.NewEvent(job, &schemas.Completed{AttemptHead: named, Result: json.RawMessage(`"` + long(schemas.ResultMax) + `"`)}),
		"error text over 16 KiB":      schemas.NewEvent(job, &schemas.Failed{AttemptHead: named, Error: schemas.JobError{Class: schemas.ClassTransient, Message: long(schemas.ErrorTextMax), Stack: "x"}}),
		"retry in 25 hours":           schemas.NewEvent(job, &schemas.Failed{AttemptHead: named, DelayMS: schemas.MillisOf(25 * time.Hour)}),
		"attempt without fence":       schemas.NewEvent(job, &schemas.Canceled{Head: head, Attempt: 1}),
		"dead for no reason":          schemas.NewEvent(job, &schemas.DeadLettered{Head: head}),
		"resolved without a note":     schemas.NewEvent(job, &schemas.Resolved{Head: head}),
		"lost for no cause":           schemas.NewEvent(job, &schemas.Lost{AttemptHead: named}),
		"running job carried":         schemas.NewEvent(job, &schemas.Carried{Head: head, Job: schemas.Job{State: schemas.StateRunning, Generation: 2, SubmittedSeq: head.Submitted}}),
		"another job's state carried": schemas.NewEvent(job, &schemas.Carried{Head: head, Job: schemas.Job{State: schemas.StateQueued, Generation: 1, SubmittedSeq: head.Submitted}}),
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := e.Encode(); err == nil {
				t.Errorf("encoded %s", m.Data)
			}
		})
	}
}

// TestLimitsDoNotUnreadThePast shows that an event over today's limits still decodes: a limit that is lowered,
// or a replacement character that lengthens a text, must not change what past events mean.
func TestLimitsDoNotUnreadThePast(t *testing.T) {
	e := schemas.NewEvent(schemas.JobSubject("acme", "job-1"), &schemas.CancelRequested{AttemptHead: named, Reason: strings.Repeat("\xff", schemas.ReasonMax)})
	m, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := schemas.Decode(m.Subject, m.Header, m.Data, 7, aTime)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Data.(*schemas.CancelRequested).Reason); n != 3*schemas.ReasonMax {
		t.Errorf("reason has %d bytes", n)
	}
}

// FuzzDecode shows that no message crashes Decode, and that what it accepts and Encode writes again is read
// as the same event and written as the same bytes.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(eventsDir, "*.txt"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden events: %v", err)
	}
	for _, path := range files {
		golden, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		m := parse(f, golden)
		f.Add(m.Subject, m.Header.Get(schemas.HeaderType), m.Header.Get(schemas.HeaderAuthID), m.Header.Get(schemas.HeaderTime), m.Data)
	}
	f.Fuzz(func(t *testing.T, subject, ceType, actor, meant string, body []byte) {
		source := "/orgs/acme"
		if strings.HasPrefix(subject, "control.") {
			source = "/cell"
		}
		h := nats.Header{schemas.HeaderID: {"id"}, schemas.HeaderType: {ceType}, schemas.HeaderSpecVersion: {"1.0"}, schemas.HeaderSource: {source},
			schemas.HeaderAuthType: {"user"}, schemas.HeaderAuthID: {actor}, schemas.HeaderTime: {meant}}
		e, err := schemas.Decode(subject, h, body, 7, aTime)
		if err != nil {
			if !errors.Is(err, schemas.ErrForeign) && !errors.Is(err, schemas.ErrUndecodable) {
				t.Fatalf("unnamed error %v", err)
			}
			return
		}
		m, err := e.Encode()
		if err != nil {
			return // over a limit, or an actor that no writer of ours names
		}
		again, err := schemas.Decode(m.Subject, m.Header, m.Data, 7, aTime)
		if err != nil {
			t.Fatalf("does not read what it wrote: %v\n%s", err, m.Data)
		}
		m2, err := again.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if s := string(print(m2)); s != string(print(m)) {
			t.Fatalf("second encoding differs:\n%s\nfirst:\n%s", s, print(m))
		}
	})
}
