//go:build unix

package storm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// future is the org of the jobs that such events are about.
	future = schemas.OrgID("future")
	// strangeType is the type of those that wait as the event comes, gateType of those that run: until the test opens
	// a gate. Workers of both versions serve both.
	strangeType, gateType = "strange", "gate"
	// soon is the delay of a job that gets such an event before it is due.
	soon = 3 * time.Second
	// settingRounds is how many rounds of settings are made: with all else, no more than a checker gives examples of.
	settingRounds = 2
)

// strangers are messages that versions to come might write on a job's subject: an event of another name, of another
// version, of another form.
var strangers = []struct{ ceType, body string }{
	{"jobledger.v1.hibernated", `{"generation":1,"until":"spring"}`},
	{"jobledger.v2.queued", `{"generation":1}`},
	{"jobledger.v1.cancel_requested", `{"generation":{"life":1}}`},
}

// strange makes events that one version cannot read, or neither, and knows what must come of them: the jobs that hold
// one are left as they are, whoever leads and works; everything else goes on (DESIGN D8).
type strange struct {
	b       *beside
	l       *ledger.Ledger
	workers []*process
	n       int // jobs, and what else is made and numbered
	rounds  int

	held     map[schemas.JobID]schemas.Seq // jobs with such an event, which stays their last
	unread   []schemas.Seq                 // events that neither version can read
	settings []schemas.Seq                 // events that only this version may be able to read
	latest   map[string]schemas.Seq        // of settings, by key in CONFIG
}

func newStrange(b *beside) *strange {
	s := &strange{b: b, l: openLedger(b.t, b.url), held: make(map[schemas.JobID]schemas.Seq), latest: make(map[string]schemas.Seq)}
	for _, program := range []string{released, binary} {
		s.workers = append(s.workers, b.workerOf(program, filepath.Base(program)+"-strange", b.url, strangeType, 1, "true"))
	}
	return s
}

// happen makes a round of such events under whoever leads now, and returns when a job has run that was due behind one
// that holds such an event.
func (s *strange) happen() {
	s.b.t.Helper()
	if s.rounds++; s.rounds == 1 {
		s.interrupt()
		s.unread = append(s.unread, s.append("control.cell.future.one", "/cell", 0, "jobledger.v1.future_set", `{"settings":{}}`))
	}
	if s.rounds <= settingRounds {
		s.set()
	}
	for id := s.submit(strangeType, soon); !s.stamp(id, schemas.StateSubmitted); {
		id = s.submit(strangeType, soon) // the machine is so busy that the job was due before the event could come
	}
	s.b.o.awaitAll([]schemas.JobID{s.submit(strangeType, soon)})
	s.untouched()
}

// submit submits one job and returns its id.
func (s *strange) submit(typ schemas.TypeName, delay time.Duration) schemas.JobID {
	s.b.t.Helper()
	s.n++
	id := schemas.JobID(fmt.Sprintf("%s-%d", typ, s.n))
	if _, err := s.l.Submit(s.b.t.Context(), ledger.SubmitRequest{Org: future, Type: typ, ID: id, Delay: delay, RegisterUnknown: true}); err != nil {
		s.b.t.Fatal(err)
	}
	return id
}

// stamp puts such an event behind what a job has; false if the job's state is another one.
func (s *strange) stamp(id schemas.JobID, state schemas.State) bool {
	s.b.t.Helper()
	e := strangers[len(s.held)%len(strangers)]
	for {
		j, err := s.l.Fold(s.b.t.Context(), future, id)
		if err != nil {
			s.b.t.Fatal(err)
		}
		if j.State != state {
			return false
		}
		seq := s.append(schemas.JobSubject(future, id).String(), "/orgs/"+string(future), j.LastSeq, e.ceType, e.body)
		if seq > 0 {
			s.held[id] = seq
			s.unread = append(s.unread, seq)
			return true
		}
	}
}

// append stores a message behind the subject's last one, at expect, and returns its sequence; 0 if that is another
// one. An expectation of 0 is none.
func (s *strange) append(subject, source string, expect schemas.Seq, ceType, body string) schemas.Seq {
	s.b.t.Helper()
	s.n++
	m := nats.NewMsg(subject)
	m.Header = nats.Header{schemas.HeaderSpecVersion: {"1.0"}, schemas.HeaderID: {fmt.Sprintf("strange-%d", s.n)},
		schemas.HeaderSource: {source}, schemas.HeaderType: {ceType}}
	m.Data = []byte(body)
	if expect > 0 {
		m.Header.Set(schemas.HeaderExpect, expect.String())
	}
	ctx, cancel := context.WithTimeout(s.b.t.Context(), patience)
	defer cancel()
	ack, err := s.l.JetStream().PublishMsg(ctx, m)
	var refused *jetstream.APIError
	switch {
	case err == nil:
		return schemas.Seq(ack.Sequence)
	case errors.As(err, &refused) && refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		return 0
	}
	s.b.t.Fatal(err)
	return 0
}

// interrupt has a job running on a worker of each version as such an event comes. The workers can store nothing of what
// the jobs came to, and this version's ends all the same, without an error.
func (s *strange) interrupt() {
	s.b.t.Helper()
	gate := filepath.Join(s.b.dir, "gate")
	var workers []*process
	for _, program := range []string{released, binary} {
		workers = append(workers, s.b.workerOf(program, filepath.Base(program)+"-gate", s.b.url, gateType, 1, "while [ ! -e '"+gate+"' ]; do sleep 0.1; done"))
	}
	var ids []schemas.JobID
	for range workers {
		ids = append(ids, s.submit(gateType, 0))
	}
	s.b.o.await("jobs at the gate", func() bool {
		return !slices.ContainsFunc(ids, func(id schemas.JobID) bool { j := s.b.o.jobs[id]; return j == nil || j.State != schemas.StateRunning })
	})
	for _, id := range ids {
		if !s.stamp(id, schemas.StateRunning) {
			s.b.t.Errorf("job %s does not run", id)
		}
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		s.b.t.Fatal(err)
	}
	for _, w := range workers {
		if w.cmd.Path == binary {
			drain(w)
		} else {
			w.kill() // the first release goes on trying to store the outcome until it is out of time
		}
	}
	s.untouched()
}

// set makes settings that the old version may not know.
func (s *strange) set() {
	s.b.t.Helper()
	text := fmt.Sprintf("as in round %d", s.rounds)
	for _, set := range []schemas.Setting{
		&schemas.OrgSet{Settings: schemas.OrgSettings{Name: "tenant", DisplayName: text}},
		&schemas.QueueSet{Settings: schemas.QueueSettings{Name: "night", Description: text}},
		&schemas.ResourceSet{Settings: schemas.ResourceSettings{Name: "carrier", Description: text}},
		&schemas.HoldSet{Settings: schemas.HoldSettings{Scope: schemas.HoldScope{Queue: "night"}, On: s.rounds%2 == 1}},
	} {
		e, err := s.l.Put(s.b.t.Context(), ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil })
		if err != nil {
			s.b.t.Fatal(err)
		}
		s.settings = append(s.settings, e.Seq)
		s.latest[set.Key()] = e.Seq
	}
}

// untouched checks that nothing was decided about the jobs that hold such an event.
func (s *strange) untouched() {
	s.b.t.Helper()
	for id, seq := range s.held {
		switch j, err := s.l.Fold(s.b.t.Context(), future, id); {
		case err != nil:
			s.b.t.Fatal(err)
		case j.LastSeq != seq || !j.Unreadable:
			s.b.t.Errorf("job %s holds an event that nobody can read, at %d, and went on to %d as %s", id, seq, j.LastSeq, j.State)
		}
	}
}

// shown checks that a version, which serves alone now, shows those jobs as unreadable, and refuses to cancel them.
func (s *strange) shown(program string) {
	s.b.t.Helper()
	for id := range s.held {
		out, talk, err := s.b.try(program, nil, "job", "info", string(id), "--org", string(future), "--json", "--server", s.b.url)
		var r ledger.Record
		if err != nil || json.Unmarshal([]byte(out), &r) != nil || !slices.Contains(r.Flags, ledger.FlagUnreadable) {
			s.b.t.Errorf("%s shows job %s: %v: %s%s", filepath.Base(program), id, err, out, talk)
		}
		out, talk, err = s.b.try(program, nil, "job", "cancel", string(id), "--org", string(future), "--json", "--server", s.b.url)
		if err == nil || !strings.Contains(out+talk, "cannot read") {
			s.b.t.Errorf("%s, asked to cancel job %s: %v: %s%s", filepath.Base(program), id, err, out, talk)
		}
	}
	s.untouched()
}

// viewed returns when CONFIG shows the settings, also those that were made while the old version led.
func (s *strange) viewed() {
	s.b.t.Helper()
	ctx, cancel := context.WithTimeout(s.b.t.Context(), patience)
	defer cancel()
	config, err := s.l.JetStream().KeyValue(ctx, ledger.BucketConfig)
	if err != nil {
		s.b.t.Fatal(err)
	}
	watch, err := config.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		s.b.t.Fatal(err)
	}
	defer func() { _ = watch.Stop() }()
	missing := maps.Clone(s.latest)
	for len(missing) > 0 {
		select {
		case entry := <-watch.Updates():
			var doc document
			if entry != nil && json.Unmarshal(entry.Value(), &doc) == nil && doc.Seq >= missing[entry.Key()] {
				delete(missing, entry.Key())
			}
		case <-ctx.Done():
			s.b.t.Fatalf("the settings are not in %s, or not the latest: %v", ledger.BucketConfig, missing)
		}
	}
}

// viewsOfOurs returns when the leader, which is of this version, has made the views its own.
func (b *beside) viewsOfOurs() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	counts, err := openLedger(b.t, b.url).JetStream().KeyValue(ctx, ledger.BucketCounts)
	if err != nil {
		b.t.Fatal(err)
	}
	watch, err := counts.Watch(ctx, ledger.KeyCountsAll)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = watch.Stop() }()
	for {
		select {
		case entry := <-watch.Updates():
			var all ledger.CountsDocument
			if entry != nil && json.Unmarshal(entry.Value(), &all) == nil && all.Form == ledger.ViewsForm() {
				return
			}
		case <-ctx.Done():
			b.t.Fatal("the new leader has not made the views its own")
		}
	}
}

// verify runs a version's checker. It finds nothing wrong but, if there are any, the events that this version cannot
// read. The views are checked if the version leads: they are then its own.
func (b *beside) verify(program string) {
	b.t.Helper()
	leads := b.leader().cmd.Path == program
	if leads && program == binary {
		b.viewsOfOurs()
	}
	var more []string
	if program == binary {
		more = []string{"--dry-run"} // it leaves no note of its result: an event that the old version cannot read, and says so
	}
	verdict, text, err := b.check(program, b.url, more...)
	name, p := filepath.Base(program), verdict.Problems
	if leads && (p.View == nil || p.Count == nil || p.Offer == nil) {
		b.t.Errorf("the checker of %s did not look at everything: %s", name, text)
	}
	if b.strange == nil {
		if err != nil || !verdict.OK {
			b.t.Errorf("the checker of %s did not find everything right: %v: %s", name, err, text)
		}
		return
	}
	unread := slices.Clone(b.strange.unread)
	for _, e := range verdict.Examples {
		i := slices.Index(unread, e.Seq)
		switch {
		case e.Kind == ledger.ProblemDecode && i >= 0:
			unread = slices.Delete(unread, i, i+1)
		case e.Kind == ledger.ProblemDecode && program != binary && slices.Contains(b.strange.settings, e.Seq):
		default:
			b.t.Errorf("the checker of %s finds %+v", name, e)
		}
	}
	if len(unread) > 0 {
		b.t.Errorf("the checker of %s does not tell that it cannot read the events %v: %s", name, unread, text)
	}
	b.t.Logf("log verify --full of %s: %d events of %d jobs, nothing wrong but %d events that it cannot read", name, verdict.Events, verdict.Jobs, len(verdict.Examples))
}
