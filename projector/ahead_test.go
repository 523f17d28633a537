package projector

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// backlog is what a batch of entries meets behind a backlog: n jobs whose folds nobody keeps are queued, some twice over.
func backlog(n int) []*ledger.Entry {
	var es []*ledger.Entry
	for i := range n {
		org, id := schemas.OrgID("acme"), schemas.JobID(fmt.Sprintf("j%d", i))
		head := schemas.Head{Generation: 1, From: schemas.StateSubmitted, Type: "echo", Queue: "default", Submitted: schemas.Seq(i + 1)}
		for _, data := range []schemas.Data{&schemas.Queued{Head: head}, &schemas.Canceled{Head: head}}[:1+i%2] {
			e := schemas.NewEvent(schemas.JobSubject(org, id), data)
			e.Seq = schemas.Seq(n + len(es) + 1)
			es = append(es, &ledger.Entry{Event: e})
		}
	}
	return es
}

func waitingJob(k jobKey) *ledger.Job {
	j := plainJob()
	j.Org, j.ID, j.Generation, j.Spec.Generation = k.org, k.id, 1, 1
	return j
}

// Behind a backlog the folds that a batch needs are read many at once, each once, and the views come out as if they had
// been read one after the other; one that cannot be read holds only its own entry up (DESIGN D9).
func TestReadAhead(t *testing.T) {
	t.Parallel()
	es := backlog(4 * readers)
	var mu sync.Mutex
	reads, waiting, together := 0, 0, make(chan struct{})
	failed := jobKey{"acme", "j7"}
	ahead := newViews(func(ctx context.Context, k jobKey, _ schemas.Seq) (*ledger.Job, error) {
		mu.Lock()
		if reads++; waiting < readers {
			if waiting++; waiting == readers {
				close(together)
			}
		}
		fail := k == failed && reads <= len(es)
		if fail {
			failed = jobKey{}
		}
		mu.Unlock()
		select {
		case <-together: // only if so many ask at once
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if fail {
			return nil, errors.New("the server is away")
		}
		return waitingJob(k), nil
	})
	serial := newViews(func(_ context.Context, k jobKey, _ schemas.Seq) (*ledger.Job, error) { return waitingJob(k), nil })
	ahead.readAhead(t.Context(), es)
	for _, e := range es {
		for _, v := range []*views{ahead, serial} {
			if err := v.apply(t.Context(), e.Event, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := 4*readers + 1; reads != want {
		t.Errorf("%d reads instead of %d", reads, want)
	}
	if !reflect.DeepEqual(ahead.counts, serial.counts) || len(ahead.dirtyJobs) != len(serial.dirtyJobs) {
		t.Errorf("counts %v, one after the other %v", ahead.counts, serial.counts)
	}
	for i, ent := range ahead.dirtyJobs {
		if !reflect.DeepEqual(ent.job, serial.dirtyJobs[i].job) {
			t.Errorf("%s is folded to %+v, one after the other to %+v", ent.key.id, ent.job, serial.dirtyJobs[i].job)
		}
	}
	ahead.readAhead(t.Context(), es) // all of it is known, or folded
	if len(ahead.read.folds) > 0 {
		t.Errorf("%d folds are kept that nobody needs", len(ahead.read.folds))
	}
}

// Of jobs beyond those that are packed the revision is kept alone: when one moves, its submitted is read, those of a batch
// together, and it comes out as it was; a message that names no submitted, or another job's, makes it read whole, and no
// later one finds it thin again. What has left for the archive is read whole too (DESIGN D9, D13).
func TestThin(t *testing.T) {
	t.Parallel()
	const jobs = 20
	submits := make(map[schemas.Seq]*ledger.Entry)
	var whole []jobKey
	v := newViews(func(_ context.Context, k jobKey, _ schemas.Seq) (*ledger.Job, error) {
		whole = append(whole, k)
		for _, s := range submits {
			if s.Job == k.id {
				j := new(ledger.Job)
				ledger.Apply(j, s.Event)
				return j, nil
			}
		}
		t.Fatalf("%s does not exist", k.id)
		return nil, nil
	})
	var asked [][]schemas.Seq
	gone := schemas.Seq(3)
	v.submitted = func(_ context.Context, seqs []schemas.Seq) ([]*ledger.Entry, error) {
		asked = append(asked, seqs)
		out := make([]*ledger.Entry, len(seqs))
		for i, seq := range seqs {
			if seq != gone {
				out[i] = submits[seq]
			}
		}
		return out, nil
	}
	v.waiting.max = 0
	for i := range jobs {
		e := schemas.NewEvent(schemas.JobSubject("acme", schemas.JobID(fmt.Sprintf("j%d", i))),
			&schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal, Generation: 1})
		e.Seq = schemas.Seq(i + 1)
		submits[e.Seq] = &ledger.Entry{Event: e}
		if err := v.apply(t.Context(), e, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, ent := range v.dirtyJobs { // as a flush does that has written them
		ent.dirty, ent.slot = false, slot{rev: uint64(100 + ent.job.LastSeq), seq: ent.job.LastSeq, known: true}
		v.rest(ent)
	}
	v.dirtyJobs = nil
	if len(v.waiting.thin) != jobs || len(v.jobs.entries) != 0 {
		t.Fatalf("%d jobs are thin, %d whole", len(v.waiting.thin), len(v.jobs.entries))
	}
	es := backlog(jobs)
	for _, e := range es {
		e.Seq++
	}
	strange := schemas.NewEvent(schemas.JobSubject("acme", "j5"), nil) // no event of ours
	strange.Seq = es[0].Seq - 1
	forged := schemas.NewEvent(schemas.JobSubject("acme", "j6"), &schemas.Queued{Head: schemas.Head{Generation: 1, From: schemas.StateSubmitted, Submitted: 8}})
	forged.Seq = es[len(es)-1].Seq + 1
	es = append(append([]*ledger.Entry{{Event: strange, Err: schemas.ErrForeign}}, es...), &ledger.Entry{Event: forged})
	v.readAhead(t.Context(), es)
	for _, e := range es {
		if err := v.apply(t.Context(), e.Event, e.Err); err != nil {
			t.Fatal(err)
		}
	}
	if len(asked) != 1 || len(asked[0]) != jobs-1 || !slices.IsSorted(asked[0]) {
		t.Errorf("asked for %v", asked)
	}
	if want := []jobKey{{"acme", "j5"}, {"acme", "j2"}}; !reflect.DeepEqual(whole, want) {
		t.Errorf("read whole: %v instead of %v", whole, want)
	}
	if len(v.waiting.thin) != 0 {
		t.Errorf("still thin: %v", v.waiting.thin)
	}
	for _, ent := range v.dirtyJobs {
		k := ent.job.SubmittedSeq
		if known := k != gone && k != 6; ent.known != known || known && ent.rev != uint64(100+k) || ent.job.Illegal > 0 && ent.key.id != "j6" {
			t.Errorf("%s: revision %d, known %t, %d illegal", ent.key.id, ent.rev, ent.known, ent.job.Illegal)
		}
	}
}
