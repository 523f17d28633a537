package ledger_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// TestFoldBeginsWithCarried shows DESIGN D13: from every situation that can be carried, a fold that begins with
// the carried event equals the one from the beginning, by way of the wire form, and so after later events.
func TestFoldBeginsWithCarried(t *testing.T) {
	for _, situation := range situations {
		if situation == "none" || situation == "running" || situation == "running!" {
			continue
		}
		t.Run(situation, func(t *testing.T) {
			s := in(t, situation)
			s.Illegal = 3
			data, err := ledger.Decide(s.Job, &ledger.Carry{})
			if err != nil {
				t.Fatal(err)
			}
			e := schemas.NewEvent(job, data)
			m, err := e.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if e, err = schemas.Decode(m.Subject, m.Header, m.Data, s.LastSeq+1, now); err != nil {
				t.Fatal(err)
			}
			fresh := &standing{Job: new(ledger.Job), fences: map[int]schemas.Fence{}}
			if !ledger.Apply(fresh.Job, e) || !ledger.Apply(s.Job, e) {
				t.Fatal("carried is illegal")
			}
			same(t, "fold from carried", fresh.Job, s.Job)
			if string(fresh.Spec.Args) != `{}` {
				t.Errorf("args became %s", fresh.Spec.Args)
			}
			late := s.event(schemas.EventLateResult)
			s.fold(late)
			fresh.fold(late)
			fresh.LastID = s.LastID // each fold made its own id
			same(t, "later event on top", fresh.Job, s.Job)
		})
	}
}

// TestCarriedCannotMove shows that a carried event put on another job's subject does not bring its identity.
func TestCarriedCannotMove(t *testing.T) {
	s := in(t, "retrying")
	data, err := ledger.Decide(s.Job, &ledger.Carry{})
	if err != nil {
		t.Fatal(err)
	}
	j := new(ledger.Job)
	ledger.Apply(j, &schemas.Event{Subject: schemas.JobSubject("other", "job-2"), Seq: 1, ID: "x", Data: data})
	if j.Org != "other" || j.ID != "job-2" {
		t.Errorf("job is %s/%s", j.Org, j.ID)
	}
}

// TestUnreadableIsReadOnly shows DESIGN D8: nothing is decided on a job that holds an event of a later version,
// nor called illegal; a carried event before which it stands does not hide it.
func TestUnreadableIsReadOnly(t *testing.T) {
	for _, situation := range situations {
		for name, c := range commands {
			s := in(t, situation)
			ledger.Skip(s.Job, &schemas.Event{Seq: s.LastSeq + 1, ID: "later"}, true)
			if data, err := ledger.Decide(s.Job, c(s)); !errors.Is(err, ledger.ErrUnreadable) || data != nil {
				t.Errorf("%s of an unreadable job that is %s: %v, %v", name, situation, data, err)
			}
		}
	}
	s := in(t, "queued")
	carried := &schemas.Carried{Head: s.Head(), Job: *s.Job}
	j := new(ledger.Job)
	ledger.Skip(j, &schemas.Event{Seq: 50, ID: "later"}, true)
	ledger.Apply(j, &schemas.Event{Subject: job, Seq: 51, ID: "x", Data: carried})
	if !j.Unreadable || j.State != schemas.StateQueued {
		t.Errorf("unreadable %t, state %s", j.Unreadable, j.State)
	}
}

// TestFoldsShareNothing shows that copies of a fold, and folds from one carried event, do not write into each
// other's memory.
func TestFoldsShareNothing(t *testing.T) {
	s := in(t, "dead_lettered")
	s.Late = slices.Grow([]schemas.Seq{1}, 8)
	a, b := *s.Job, *s.Job
	for i, j := range []*ledger.Job{&a, &b} {
		h := schemas.AttemptHead{Head: j.Head(), Attempt: 1, Fence: schemas.Fence{Seq: schemas.Seq(100 + i), ID: "x"}}
		ledger.Apply(j, &schemas.Event{Subject: job, Seq: j.LastSeq + 1, Data: &schemas.LateResult{AttemptHead: h}})
	}
	if !slices.Equal(a.Late, []schemas.Seq{1, 100}) || !slices.Equal(b.Late, []schemas.Seq{1, 101}) {
		t.Errorf("late %v and %v", a.Late, b.Late)
	}
}

// TestLateIsBounded shows that the memory of late results keeps the latest schemas.LateMax.
func TestLateIsBounded(t *testing.T) {
	s := in(t, "completed")
	for i := range schemas.LateMax + 10 {
		h := schemas.AttemptHead{Head: s.Head(), Attempt: 1, Fence: schemas.Fence{Seq: schemas.Seq(1000 + i), ID: "x"}}
		if !s.fold(&schemas.LateResult{AttemptHead: h, Outcome: schemas.EventCompleted}) {
			t.Fatal("late_result is illegal")
		}
	}
	if len(s.Late) != schemas.LateMax || s.Late[0] != 1010 || s.Late[schemas.LateMax-1] != 1000+schemas.LateMax+9 {
		t.Errorf("%d late, %d to %d", len(s.Late), s.Late[0], s.Late[len(s.Late)-1])
	}
	before := slices.Clone(s.Late)
	h := schemas.AttemptHead{Head: s.Head(), Attempt: 1, Fence: schemas.Fence{Seq: 1020, ID: "x"}}
	s.fold(&schemas.LateResult{AttemptHead: h, Outcome: schemas.EventCompleted}) // of a writer that does not decide
	if !slices.Equal(s.Late, before) {
		t.Errorf("a second late result of one attempt was remembered twice: %v", s.Late)
	}
}

// TestOutcomeMistakes shows the answers to what no worker should send.
func TestOutcomeMistakes(t *testing.T) {
	s := in(t, "running")
	if _, err := ledger.Decide(s.Job, s.outcome(2, schemas.EventLost)); err == nil {
		t.Error("a worker may call itself lost")
	}
	if data, err := ledger.Decide(in(t, "queued").Job, &ledger.Outcome{Kind: schemas.EventCompleted}); !errors.Is(err, ledger.ErrStaleAttempt) {
		t.Errorf("an outcome of no attempt: %v, %v", data, err)
	}
	if _, err := ledger.Decide(in(t, "dead_lettered").Job, &ledger.Resolve{}); err == nil {
		t.Error("a dead letter is closed without a note")
	}
}

// TestOfferKeepsArgs shows that an offer carries args and checkpoint byte for byte, leaves large ones in the ledger, and does
// not change the fold that it is made of.
func TestOfferKeepsArgs(t *testing.T) {
	s := in(t, "queued")
	half := `"` + strings.Repeat("x", ledger.OfferArgsMax/2) + `"`
	for name, c := range map[string]struct {
		args, checkpoint string
		omitted          bool
	}{
		"small":          {`{ "n" : 9007199254740993, "h":"<&>" }`, ``, false},
		"large":          {`"` + strings.Repeat("x", ledger.OfferArgsMax) + `"`, ``, true},
		"none":           {``, ``, false},
		"checkpoint":     {`{}`, `{ "page" : 9007199254740993, "h":"<&>" }`, false},
		"large together": {half, half, true},
	} {
		t.Run(name, func(t *testing.T) {
			s.Spec.Args, s.Checkpoint = json.RawMessage(c.args), json.RawMessage(c.checkpoint)
			s.Result = json.RawMessage(`1`)
			before := clone(t, s.Job)
			body, err := (&ledger.Offer{Epoch: 7, Cell: "c", Job: s.Job}).Encode()
			if err != nil {
				t.Fatal(err)
			}
			same(t, "Encode changed the job", s.Job, before)
			o, err := ledger.DecodeOffer(body)
			if err != nil {
				t.Fatal(err)
			}
			want, checkpoint := c.args, c.checkpoint
			if c.omitted {
				want, checkpoint = "", ""
			}
			if string(o.Job.Checkpoint) != checkpoint {
				t.Errorf("checkpoint is %.40s", o.Job.Checkpoint)
			}
			if o.ArgsOmitted != c.omitted || string(o.Job.Spec.Args) != want || o.Epoch != 7 || o.Job.LastSeq != s.LastSeq {
				t.Errorf("omitted %t, args %.40s, %+v", o.ArgsOmitted, o.Job.Spec.Args, o)
			}
		})
	}
	for _, bad := range []string{``, `{`, `{"epoch":1}`, `[]`, `{"job":7}`} {
		if o, err := ledger.DecodeOffer([]byte(bad)); err == nil {
			t.Errorf("%q is the offer %+v", bad, o)
		}
	}
}
