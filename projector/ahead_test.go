package projector

import (
	"context"
	"errors"
	"fmt"
	"reflect"
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
	if len(ahead.folds) > 0 {
		t.Errorf("%d folds are kept that nobody needs", len(ahead.folds))
	}
}
