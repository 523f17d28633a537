package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/projector/index"
	"github.com/dartwing/jobledger/schemas"
)

const (
	searchOrgs     = 1_000
	searchAtOnce   = 256                 // jobs of the stories that are under way at once
	searchSpan     = 30 * 24 * time.Hour // of stream time
	searchMessages = 1_024               // entries handed over at a time
	searchLooks    = 40                  // of each kind of filter, each in another org
	searchBig      = schemas.OrgID("big")
)

// searchKinds are filters of each kind, with what is asked of their 95th percentile. %d is a number below 50.
var searchKinds = []struct {
	text string
	aim  time.Duration
}{
	{"", 50 * time.Millisecond},
	{"state:dead_lettered", 50 * time.Millisecond},
	{"state:canceled", 50 * time.Millisecond},
	{"type:type-%d", 50 * time.Millisecond},
	{"queue:bulk -type:type-1", 50 * time.Millisecond},
	{"owner:user:u%d", 50 * time.Millisecond},
	{"batch:b%d", 50 * time.Millisecond},
	{"tag.customer:c%d", 50 * time.Millisecond},
	{"-tag.customer:*", 50 * time.Millisecond},
	{"-tag.customer:* state:dead_lettered", 50 * time.Millisecond},
	{"submitted:20d..21d", 50 * time.Millisecond},
	{"finished:20d..21d", 50 * time.Millisecond},
	{"finished:>29d state:completed", 50 * time.Millisecond},
	{"attempt:>1", 50 * time.Millisecond},
	{"error:\"host 10.0.0.%d \"", 50 * time.Millisecond},
	{"class:permanent resolution:open", 50 * time.Millisecond},
	{"id:none-%d", 50 * time.Millisecond},
	{"args.user.id:%d", 300 * time.Millisecond},
	{"args:\"user %d.\"", 300 * time.Millisecond},
	{"result.sent:false", 300 * time.Millisecond},
}

// search: jobs of a thousand orgs, and as many of one, straight into a query index, and what each kind of filter takes.
func search(ctx context.Context, jobs int, dir string, results *report, talk io.Writer) error {
	for _, one := range []bool{false, true} {
		path := filepath.Join(dir, "search")
		if err := searchIn(ctx, jobs, one, path, results, talk); err != nil {
			return err
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

func searchIn(ctx context.Context, jobs int, one bool, dir string, results *report, talk io.Writer) (err error) {
	name := fmt.Sprintf("search %d", searchOrgs)
	org := func(i int) schemas.OrgID { return schemas.OrgID(fmt.Sprint("org-", i%searchOrgs)) }
	if one {
		name, org = "search 1", func(int) schemas.OrgID { return searchBig }
	}
	s := &stories{jobs: jobs, org: org, r: rand.New(rand.NewPCG(1, 2)), at: time.Now().Add(-searchSpan)}
	begin, cpu := time.Now(), cpuOf(os.Getpid())
	x, err := index.Build(ctx, dir, s.entries())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	took, used := time.Since(begin), cpuOf(os.Getpid())-cpu
	rate := float64(s.seq) / took.Seconds()
	results.aim(name, "events folded from zero", rate, "/s", ">= 50,000", rate >= 50_000)
	results.add(name, "events folded for each second of CPU, making them included", float64(s.seq)/used.Seconds(), "/s")
	info, err := os.Stat(filepath.Join(dir, "index.sqlite"))
	if err != nil {
		return err
	}
	results.add(name, "index file, a job", float64(info.Size())/float64(jobs), "B")
	fmt.Fprintf(talk, "  %d events in %s\n", s.seq, took.Round(time.Millisecond))
	for _, k := range searchKinds {
		if err := look(ctx, x, k.text, k.aim, name, jobs, one, org, results); err != nil {
			return err
		}
	}
	return counted(ctx, x, org, name, results)
}

// look asks for the first page of a kind of filter in many orgs.
func look(ctx context.Context, x *index.Built, text string, aim time.Duration, name string, jobs int, one bool, org func(int) schemas.OrgID, results *report) error {
	var took []time.Duration
	rows, partial := 0, 0
	looks := min(searchLooks, jobs/100)
	for i := range looks {
		filled := text
		if slices.Contains([]byte(text), '%') {
			filled = fmt.Sprintf(text, i%50)
		}
		w, err := where.Parse(filled)
		if err != nil {
			return err
		}
		begin := time.Now()
		page, err := x.Find(ctx, &index.Query{Org: org(i * 7), Where: w, Limit: 20, Now: begin})
		if err != nil {
			return err
		}
		took = append(took, time.Since(begin))
		if rows += len(page.Records); page.Next != 0 && len(page.Records) < 20 {
			partial++
		}
	}
	slices.Sort(took)
	at := func(p int) float64 { return float64(took[(len(took)-1)*p/100].Microseconds()) / 1000 }
	what := fmt.Sprintf("%q p50, %d rows", text, rows/looks)
	if partial > 0 {
		what += fmt.Sprintf(", %d of %d looks partial", partial, looks)
	}
	results.add(name, what, at(50), "ms")
	if one { // nothing is asked of one org with all jobs, but that a look ends
		results.add(name, fmt.Sprintf("%q p95", text), at(95), "ms")
	} else {
		results.aim(name, fmt.Sprintf("%q p95", text), at(95), "ms", "<= "+aim.String(), at(95) <= float64(aim.Milliseconds()))
	}
	return nil
}

func counted(ctx context.Context, x *index.Built, org func(int) schemas.OrgID, name string, results *report) error {
	var took []time.Duration
	for i := range searchLooks {
		begin := time.Now()
		if _, _, err := x.Counts(ctx, org(i)); err != nil {
			return err
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	results.add(name, "counts of an org, p50", float64(took[len(took)/2].Microseconds())/1000, "ms")
	return nil
}

// stories makes the events of jobs that come and end, in ledger order.
type stories struct {
	jobs int
	org  func(int) schemas.OrgID
	r    *rand.Rand
	at   time.Time
	seq  schemas.Seq
	made int
	live []*ledger.Job
	out  []*ledger.Entry
}

func (s *stories) entries() iter.Seq[[]*ledger.Entry] {
	return func(yield func([]*ledger.Entry) bool) {
		for s.made < s.jobs || len(s.live) > 0 {
			if s.made < s.jobs && len(s.live) < searchAtOnce {
				s.begin()
			} else {
				s.step(s.r.IntN(len(s.live)))
			}
			if len(s.out) >= searchMessages {
				if !yield(s.out) {
					return
				}
				s.out = nil
			}
		}
		yield(s.out)
	}
}

// say stores an event of j.
func (s *stories) say(j *ledger.Job, d schemas.Data) {
	s.seq++
	s.at = s.at.Add(searchSpan / time.Duration(5*s.jobs))
	e := &schemas.Event{Seq: s.seq, Time: s.at, Subject: schemas.JobSubject(j.Org, j.ID), ID: schemas.EventID(s.uuid()), Data: d}
	ledger.Apply(j, e)
	s.out = append(s.out, &ledger.Entry{Event: e})
}

// uuid is one of version 7 of the stories' own time.
func (s *stories) uuid() string {
	ms := uint64(s.at.UnixMilli())
	return fmt.Sprintf("%08x-%04x-7%03x-8%03x-%012x", ms>>16, ms&0xffff, s.r.IntN(1<<12), s.r.IntN(1<<12), s.r.Uint64()>>16)
}

func (s *stories) begin() {
	i := s.r.IntN(50)
	queue := schemas.QueueName("default")
	if i%5 == 0 {
		queue = "bulk"
	}
	d := &schemas.Submitted{Type: schemas.TypeName(fmt.Sprint("type-", i%10)), Queue: queue, Priority: schemas.PriorityNormal, Generation: 1,
		Principal: fmt.Sprint("user:u", s.r.IntN(50)), Hash: "abcdefghijklmnopqrstuv",
		Args: json.RawMessage(fmt.Sprintf(`{"user":{"id":%d,"name":"User %d."},"to":"someone@example.com","subject":"Your order","items":[1,2,3]}`, s.r.IntN(50), s.r.IntN(50)))}
	if i%10 > 0 {
		d.Tags = map[string]string{"customer": fmt.Sprint("c", s.r.IntN(50))}
	}
	if i%4 == 0 {
		d.Batch = fmt.Sprint("b", s.r.IntN(50))
	}
	j := &ledger.Job{Org: s.org(s.r.IntN(searchOrgs)), ID: schemas.JobID(s.uuid())}
	s.made++
	s.say(j, d)
	s.live = append(s.live, j)
}

// step moves a job on: of a hundred two are canceled, five fail for good and five once.
func (s *stories) step(i int) {
	j := s.live[i]
	head := schemas.Head{From: j.State, Type: j.Spec.Type, Queue: j.Spec.Queue, Priority: j.Spec.Priority, Generation: 1, Submitted: j.SubmittedSeq}
	attempt := schemas.AttemptHead{Head: head, Attempt: j.Attempt, Fence: j.Fence}
	failure := func(class schemas.ErrorClass) *schemas.JobError {
		return &schemas.JobError{Class: class, Message: fmt.Sprintf("dial host 10.0.0.%d : connection refused", s.r.IntN(50))}
	}
	chance := s.r.IntN(100)
	switch {
	case j.State == schemas.StateSubmitted && chance < 2:
		s.say(j, &schemas.Canceled{Head: head, Reason: "chance"})
	case j.State == schemas.StateSubmitted, j.State == schemas.StateRetrying:
		s.say(j, &schemas.Queued{Head: head, Policy: schemas.DefaultPolicy()})
	case j.State == schemas.StateQueued:
		s.say(j, &schemas.Running{Head: head, Attempt: j.Attempt + 1, Session: "0193abcd-0000-7000-8000-000000000000", Worker: "host-7:4711"})
	case chance < 5:
		s.say(j, &schemas.DeadLettered{Head: head, Fence: j.Fence, Reason: schemas.DeadPermanentError, Error: failure(schemas.ClassPermanent)})
	case chance < 10:
		s.say(j, &schemas.Failed{AttemptHead: attempt, Error: *failure(schemas.ClassTransient)})
	default:
		s.say(j, &schemas.Completed{AttemptHead: attempt, Result: json.RawMessage(`{"sent":true,"id":"0193abcd"}`)})
	}
	if j.State.Finished() {
		s.live[i] = s.live[len(s.live)-1]
		s.live = s.live[:len(s.live)-1]
	}
}
