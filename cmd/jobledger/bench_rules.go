package main

import (
	"context"
	"strconv"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Rules of `bench flow --rules`: every one is looked at for each job, and none is reached.
const (
	benchLimit     = 1_000_000 // jobs, of every limit
	benchResources = 100       // names that jobs take places under
	benchWeights   = 4         // orgs weigh 1 to so many
)

var (
	benchRate       = &schemas.Rate{Count: schemas.RateMax, PerMS: schemas.MillisOf(time.Second)}
	benchPriorities = []schemas.Priority{schemas.PriorityLow, schemas.PriorityNormal, schemas.PriorityHigh, schemas.PriorityCritical}
)

// settle registers what the jobs need. Without rules the orgs have no limit: the default one is below what the cell can
// do.
func (f *flow) settle(ctx context.Context) error {
	kind, queue := schemas.TypeSettings{Name: schemas.TypeName(f.name), Queue: schemas.QueueName(f.name)}, schemas.QueueSettings{Name: schemas.QueueName(f.name)}
	if f.rules {
		kind.MaxRunning, kind.MaxRunningPerOrg, kind.Breaker = benchLimit, benchLimit, &schemas.Breaker{}
		kind.StartRate, kind.SubmitRate = benchRate, benchRate
		queue.MaxRunning, queue.MaxRunningPerOrg, queue.MaxWaitingPerOrg, queue.StartRatePerOrg = benchLimit, benchLimit, benchLimit, benchRate
		if err := f.put(ctx, &schemas.QueueSet{Settings: queue, Reason: "bench flow"}); err != nil {
			return err
		}
		for i := range benchResources {
			r := schemas.ResourceSettings{Name: f.resource(i), MaxRunning: benchLimit, StartRate: benchRate, PerOrg: i%2 == 1}
			if err := f.put(ctx, &schemas.ResourceSet{Settings: r, Reason: "bench flow"}); err != nil {
				return err
			}
		}
	}
	if _, err := f.submits.PutType(ctx, kind, ledger.Meta{Actor: benchActor}, "bench flow"); err != nil {
		return err
	}
	for i, org := range f.orgs {
		limit := 0
		set := schemas.OrgSettings{Name: org, MaxRunning: &limit}
		if f.rules {
			limit = benchLimit
			set.Weight, set.MaxWaiting, set.StartRate, set.SubmitRate = 1+i%benchWeights, benchLimit, benchRate, benchRate
		}
		if err := f.put(ctx, &schemas.OrgSet{Settings: set, Reason: "bench flow"}); err != nil {
			return err
		}
	}
	return nil
}

func (f *flow) put(ctx context.Context, set schemas.Setting) error {
	_, err := f.submits.Put(ctx, ledger.Meta{Actor: benchActor}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil })
	return err
}

// obey has the rules in force bear on the i-th job.
func (f *flow) obey(r *ledger.SubmitRequest, i int) {
	if f.rules {
		r.Priority, r.Resource = benchPriorities[i%len(benchPriorities)], f.resource(i%benchResources)
	}
}

func (f *flow) resource(i int) string { return f.name + "-" + strconv.Itoa(i) }
