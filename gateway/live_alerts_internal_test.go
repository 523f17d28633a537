package gateway

import (
	"context"
	"testing"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// who follows an org is told of its many dead letters also if they were few for a time in which nobody followed it.
func TestDeadLettersAreToldAgainBehindATimeWithoutFollowers(t *testing.T) {
	t.Parallel()
	told, open, followed := 0, int64(0), true
	a := newLiveAlerts(nil, func(schemas.OrgID) { told++ }, zap.NewNop())
	a.open = func(context.Context, schemas.OrgID) (int64, schemas.Seq, error) { return open, 9, nil }
	a.largest = func(context.Context, schemas.OrgID) (*ErrorGroup, error) { return nil, nil }
	for i, step := range []struct {
		data     schemas.Data
		open     int64
		followed bool
		told     int
	}{
		{&schemas.DeadLettered{}, DeadLettersAlert, true, 1},
		{&schemas.DeadLettered{}, DeadLettersAlert + 1, true, 1},
		{&schemas.Resolved{}, 3, false, 1},
		{&schemas.DeadLettered{}, DeadLettersAlert, true, 2},
	} {
		open, followed = step.open, step.followed
		a.event(&ledger.Entry{Event: &schemas.Event{Subject: schemas.JobSubject("acme", "j"), Seq: schemas.Seq(i + 1), Data: step.data}})
		if a.round(t.Context(), func(schemas.OrgID) bool { return followed }); told != step.told {
			t.Errorf("step %d: told %d times, want %d", i, told, step.told)
		}
	}
}
