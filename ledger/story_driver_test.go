package ledger_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// job is the one job that a story is about.
var job = schemas.JobSubject("acme", "job-1")

// story is one job's life as a transcript tells it: its events, its fold and a clock that stands still
// until a command moves it.
type story struct {
	t      *testing.T
	clock  time.Time
	events []*schemas.Event // Data is nil for a message that Decode refused
	job    *ledger.Job
	fences map[string]schemas.Fence // by "generation/attempt"
}

func newStory(t *testing.T) *story {
	return &story{t: t, clock: start, job: new(ledger.Job), fences: map[string]schemas.Fence{}}
}

// args are the key=value words of a command; a word without '=' has the value "true".
type args map[string]string

var words = regexp.MustCompile(`[^\s="]+(="[^"]*"|=\S+)?`)

func parseArgs(line string) (string, args) {
	all := words.FindAllString(line, -1)
	a := args{}
	for _, w := range all[1:] {
		k, v, ok := strings.Cut(w, "=")
		if !ok {
			v = "true"
		}
		a[k] = strings.Trim(v, `"`)
	}
	return all[0], a
}

// run executes one line. Of every command, in=D moves the clock on by D first.
func (s *story) run(line string) string {
	name, a := parseArgs(line)
	s.clock = s.clock.Add(a.duration(s.t, "in"))
	switch name {
	case "job": // shows the fold
		return describe(s.job)
	case "history": // lists the events
		var b strings.Builder
		for _, e := range s.events {
			b.WriteString(describeEvent(e))
		}
		return b.String()
	case "append": // event=NAME: a writer that decides nothing appends an event as it is
		return s.appended(s.rawEvent(a))
	case "foreign": // a message that is not an event of ours
		return s.skipped(false)
	case "newer": // an event of ours that only a later version can read
		return s.skipped(true)
	case "refold": // from=SEQ: fold only the events from there on, as when the older ones are in the archive
		return s.refold(a)
	}
	make := storyCommands[name]
	if make == nil {
		s.t.Fatalf("unknown command %q", name)
	}
	return s.do(make(s, a), a)
}

// do decides c and, as the append loop does, stores and folds what was decided.
func (s *story) do(c ledger.Command, a args) string {
	before := clone(s.t, s.job)
	data, err := ledger.Decide(s.job, c)
	same(s.t, "Decide changed the job", s.job, before)
	switch {
	case err != nil:
		return fmt.Sprintf("refused: %v\n", err)
	case data == nil:
		return "nothing to write\n"
	}
	e := schemas.NewEvent(job, data)
	if by := a["by"]; by != "" {
		if e.Actor, err = schemas.ParseActor(by); err != nil {
			s.t.Fatal(err)
		}
	}
	return s.appended(e)
}

// appended stores e as the next message, by way of its wire form, and folds it.
func (s *story) appended(e *schemas.Event) string {
	seq := schemas.Seq(len(s.events) + 1)
	e.ID = schemas.EventID("e" + seq.String())
	m, err := e.Encode()
	if err != nil {
		s.t.Fatalf("%s cannot be stored: %v", e.Name(), err)
	}
	if e, err = schemas.Decode(m.Subject, m.Header, m.Data, seq, s.clock); err != nil {
		s.t.Fatal(err)
	}
	s.events = append(s.events, e)
	if r, ok := e.Data.(*schemas.Running); ok {
		s.fences[fmt.Sprintf("%d/%d", r.Generation, r.Attempt)] = schemas.Fence{Seq: seq, ID: e.ID}
	}
	from := situationOf(s.job)
	legal := ledger.Apply(s.job, e)
	return strings.TrimSuffix(describeEvent(e), "\n") + verdict(from, situationOf(s.job), legal)
}

func verdict(from, to string, legal bool) string {
	switch {
	case !legal:
		return fmt.Sprintf("  [illegal: stays %s]\n", to)
	case from == to:
		return fmt.Sprintf("  [%s]\n", to)
	}
	return fmt.Sprintf("  [%s -> %s]\n", from, to)
}

func (s *story) skipped(ours bool) string {
	e := &schemas.Event{Subject: job, Seq: schemas.Seq(len(s.events) + 1), Time: s.clock}
	e.ID = schemas.EventID("e" + e.Seq.String())
	if ours {
		e.Meant = &s.clock // marks it for check
	}
	s.events = append(s.events, e)
	ledger.Skip(s.job, e, ours)
	return fmt.Sprintf("%d not decoded  [%s, unreadable: %t]\n", e.Seq, situationOf(s.job), s.job.Unreadable)
}

// rawEvent builds the event that a writer without Decide might append: right in form, wrong in time.
func (s *story) rawEvent(a args) *schemas.Event {
	at := &standing{Job: s.job, fences: map[int]schemas.Fence{1: {Seq: 1, ID: "e1"}}}
	data := at.event(schemas.EventName(a["event"]))
	h := schemas.Head{From: schemas.StateRunning, Type: "echo", Queue: "default", Priority: schemas.PriorityNormal, Generation: max(1, s.job.Generation), Submitted: 1}
	switch d := data.(type) { // what the fold cannot give, so that the form is right
	case interface{ Named() *schemas.AttemptHead }:
		n := d.Named()
		n.Head = h
		if n.Fence.IsZero() {
			n.Attempt, n.Fence = max(1, s.job.Attempt), schemas.Fence{Seq: 1, ID: "e1"}
		}
	case schemas.JobData:
		*d.Common() = h
	}
	return schemas.NewEvent(job, data)
}

// refold folds the events from a sequence on and compares with the live fold.
func (s *story) refold(a args) string {
	from := a.number(s.t, "from", 1)
	again := foldAll(s.events[from-1:])
	live := clone(s.t, s.job)
	if d, ok := s.events[from-1].Data.(*schemas.Submitted); ok && d.Generation > 1 {
		// What a fold remembers of attempts of earlier generations left with their events; no view shows it.
		live.LastFence, live.LastOutcome, live.Late = schemas.Fence{}, "", nil
	}
	same(s.t, fmt.Sprintf("fold from %d", from), again, live)
	return fmt.Sprintf("fold of %d..%d equals the live one: %s\n", from, len(s.events), situationOf(again))
}

// foldAll folds events from nothing. The mark that skipped left tells whose the undecodable ones are.
func foldAll(events []*schemas.Event) *ledger.Job {
	j := new(ledger.Job)
	for _, e := range events {
		if e.Data == nil {
			ledger.Skip(j, e, e.Meant != nil)
		} else {
			ledger.Apply(j, e)
		}
	}
	return j
}

// check ends every story: a fold from zero equals the live one, and folding the events again changes nothing.
func (s *story) check() {
	again := foldAll(s.events)
	same(s.t, "fold from zero", again, s.job)
	for _, e := range s.events {
		if e.Data != nil {
			ledger.Apply(again, e)
		}
	}
	same(s.t, "events folded twice", again, s.job)
}

func (a args) duration(t *testing.T, key string) time.Duration {
	if a[key] == "" {
		return 0
	}
	d, err := time.ParseDuration(a[key])
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (a args) number(t *testing.T, key string, otherwise int) int {
	if a[key] == "" {
		return otherwise
	}
	n, err := strconv.Atoi(a[key])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// describe shows what the fold knows, one line for each of: where, budget, times, why.
func describe(j *ledger.Job) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s, generation %d, attempt %d, used %d, last seq %d", situationOf(j), j.Generation, j.Attempt, j.Used, j.LastSeq)
	var rest []string
	add := func(name string, v any, shown bool) {
		if shown {
			rest = append(rest, fmt.Sprintf("%s %v", name, v))
		}
	}
	add("losses", j.Losses, j.Losses > 0)
	add("cell losses", j.CellLosses, j.CellLosses > 0)
	add("fence", j.Fence.Seq, !j.Fence.IsZero())
	add("last outcome", j.LastOutcome, j.LastOutcome != "")
	add("late", j.Late, len(j.Late) > 0)
	for _, at := range []struct {
		name string
		t    time.Time
	}{{"not before", j.NotBefore}, {"deadline", j.Deadline}, {"retry at", j.RetryAt}, {"started", j.StartedAt}, {"finished", j.FinishedAt}} {
		add(at.name, since(at.t), !at.t.IsZero())
	}
	add("dead:", j.DeadReason, j.DeadReason != "")
	add("resolution", j.Resolution, j.Resolution != "")
	add("note", strconv.Quote(j.Note), j.Note != "")
	add("cancel by", j.CancelBy, j.CancelBy != schemas.Actor{})
	add("cancel reason", strconv.Quote(j.CancelReason), j.CancelReason != "")
	add("forced", j.CancelForced, j.CancelForced)
	if j.DuplicateOf != nil {
		add("duplicate of", j.DuplicateOf.ID, true)
	}
	if j.Error != nil {
		add("error", fmt.Sprintf("%s %q", j.Error.Class, j.Error.Message), true)
	}
	add("result", string(j.Result), len(j.Result) > 0)
	add("checkpoint", string(j.Checkpoint), len(j.Checkpoint) > 0)
	add("parents waived", j.ParentsWaived, j.ParentsWaived)
	add("illegal", j.Illegal, j.Illegal > 0)
	add("unreadable", j.Unreadable, j.Unreadable)
	for chunk := range slices.Chunk(rest, 4) {
		line("  %s", strings.Join(chunk, ", "))
	}
	return b.String()
}

// since writes a time as the time since the story began.
func since(t time.Time) string { return "+" + t.Sub(start).String() }

// hidden are keys of event data that say nothing to a reader of a story.
var hidden = []string{"from", "type", "queue", "priority", "submitted", "session", "policy", "epoch", "generation", "job"}

// describeEvent writes an event as one line: sequence, time since the story began, name, data.
func describeEvent(e *schemas.Event) string {
	if e.Data == nil {
		return fmt.Sprintf("%d %s not decoded\n", e.Seq, since(e.Time))
	}
	body, err := schemas.EncodeBody(e.Data)
	if err != nil {
		return err.Error()
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(body, &m); err != nil {
		return err.Error()
	}
	line := fmt.Sprintf("%d %s %s", e.Seq, since(e.Time), e.Name())
	if e.Actor != (schemas.Actor{}) {
		line += " by " + e.Actor.String()
	}
	for _, k := range slices.Sorted(func(yield func(string) bool) {
		for k := range m {
			shown := !slices.Contains(hidden, k) || k == "generation" && e.Name() == schemas.EventLateResult
			if shown && !yield(k) {
				return
			}
		}
	}) {
		line += " " + k + "=" + short(k, m[k])
	}
	return line + "\n"
}

// short writes durations in words and fences as their sequence.
func short(key string, v json.RawMessage) string {
	var fence schemas.Fence
	var ms schemas.Millis
	switch {
	case key == "fence" && json.Unmarshal(v, &fence) == nil:
		return fence.Seq.String()
	case strings.HasSuffix(key, "_ms") && json.Unmarshal(v, &ms) == nil:
		return ms.Duration().String()
	}
	return string(v)
}
