package ledger

import (
	"testing"

	"github.com/dartwing/jobledger/schemas"
)

// The auditor keeps books of its own, so that it would notice a fold that takes what it must not: it finds
// two attempts at once, an outcome of none, and an attempt that vanishes, without asking Apply.
func TestAuditFindsWhatApplyWouldMiss(t *testing.T) {
	t.Parallel()
	head := schemas.Head{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal, Generation: 1, Submitted: 1}
	running := func(seq schemas.Seq) *schemas.Event {
		return &schemas.Event{Seq: seq, ID: schemas.EventID(seq.String()), Data: &schemas.Running{Head: head, Attempt: 1}}
	}
	named := func(seq schemas.Seq) schemas.AttemptHead {
		return schemas.AttemptHead{Head: head, Attempt: 1, Fence: schemas.Fence{Seq: seq, ID: schemas.EventID(seq.String())}}
	}
	completed := func(fence schemas.Seq) *schemas.Event {
		return &schemas.Event{Seq: 99, Data: &schemas.Completed{AttemptHead: named(fence)}}
	}
	canceled := &schemas.Event{Seq: 99, Data: &schemas.Canceled{Head: head}}
	for name, tc := range map[string]struct {
		state  schemas.State // that the fold says it is in at the end
		events []*schemas.Event
		want   int
	}{
		"one attempt":               {schemas.StateCompleted, []*schemas.Event{running(3), completed(3)}, 0},
		"two in turn":               {schemas.StateCompleted, []*schemas.Event{running(3), {Seq: 4, Data: &schemas.Lost{AttemptHead: named(3)}}, running(5), completed(5)}, 0},
		"late result":               {schemas.StateRunning, []*schemas.Event{running(3), {Seq: 4, Data: &schemas.LateResult{AttemptHead: named(2)}}}, 0},
		"cancel requested":          {schemas.StateRunning, []*schemas.Event{running(3), {Seq: 4, Data: &schemas.CancelRequested{AttemptHead: named(3)}}}, 0},
		"checkpoint":                {schemas.StateRunning, []*schemas.Event{running(3), {Seq: 4, Data: &schemas.Checkpointed{AttemptHead: named(3)}}}, 0},
		"canceled before any":       {schemas.StateCanceled, []*schemas.Event{canceled}, 0},
		"two at once":               {schemas.StateRunning, []*schemas.Event{running(3), running(4)}, 1},
		"two outcomes":              {schemas.StateCompleted, []*schemas.Event{running(3), completed(3), completed(3)}, 1},
		"outcome without claim":     {schemas.StateCompleted, []*schemas.Event{completed(3)}, 1},
		"outcome of another":        {schemas.StateCompleted, []*schemas.Event{running(3), completed(2)}, 1},
		"canceled past an attempt":  {schemas.StateCanceled, []*schemas.Event{running(3), canceled}, 1},
		"outcome of a false fence":  {schemas.StateCompleted, []*schemas.Event{running(3), {Seq: 4, Data: &schemas.Completed{AttemptHead: schemas.AttemptHead{Fence: schemas.Fence{Seq: 3, ID: "x"}}}}}, 1},
		"dead-lettered and reborn":  {schemas.StateRunning, []*schemas.Event{running(3), {Seq: 4, Data: &schemas.DeadLettered{Head: head, Fence: named(3).Fence}}, running(5)}, 0},
		"dead-lettered as it waits": {schemas.StateDeadLettered, []*schemas.Event{{Seq: 4, Data: &schemas.DeadLettered{Head: head}}}, 0},
	} {
		v := &verifier{verdict: &Verdict{}}
		v.checks(ProblemIllegal)
		vj := &verifiedJob{job: &Job{}}
		for i, e := range tc.events {
			vj.job.State = schemas.StateRunning
			if i == len(tc.events)-1 {
				vj.job.State = tc.state
			}
			v.audit(vj, e)
		}
		if v.total != tc.want {
			t.Errorf("%s: %d problems, want %d: %+v", name, v.total, tc.want, v.verdict.Examples)
		}
	}
}
