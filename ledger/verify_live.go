package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

// How long what may only be on its way is given before it is called a problem: some times what it takes, for the machine may
// be busy.
const (
	livePoll = 250 * time.Millisecond
	// viewPatience is how long the views may be behind the ledger; they are written within a second (DESIGN D9).
	viewPatience = 15 * time.Second
	// leasePatience is how long a lease outlives its leader, and a little more.
	leasePatience = 3500 * time.Millisecond
	// queuedPatience is how long a Queued job may be without an offer; it is offered again after a second (DESIGN D7).
	queuedPatience = 8 * time.Second
	// strayPatience is how long an offer may outlive its job's being Queued: until a worker drops it, or the
	// leader's reconciler does.
	strayPatience = 15 * time.Second
)

// leadersMax is how many changes of the leader checkLive sits out.
const leadersMax = 3

// checkLive compares the ledger with what a leader keeps in step with it. It is looked for only if there is
// one, and the same all the time that the check takes.
func (v *verifier) checkLive(ctx context.Context) error {
	for range leadersMax {
		lease, err := v.l.leaseRevision(ctx)
		if err != nil || lease == 0 {
			return err
		}
		epoch, err := v.l.Epoch(ctx)
		if err != nil {
			return err
		}
		offers, err := v.offerProblems(ctx)
		if err != nil {
			return err
		}
		late, err := v.viewsLate(ctx)
		if err != nil {
			return err
		}
		if len(offers) > 0 || late != "" {
			alive, err := v.leaderLives(ctx, lease)
			if err != nil || !alive {
				return err
			}
			if now, err := v.l.Epoch(ctx); err != nil {
				return err
			} else if now != epoch {
				continue // a new leader has to be given its time
			}
		}
		v.reportLive(offers, late)
		return nil
	}
	return nil
}

func (v *verifier) reportLive(offers []offerProblem, late string) {
	v.checks(ProblemOffer)
	for _, p := range offers {
		v.problem(ProblemOffer, p.seq, p.org, p.id, "%s", p.message)
	}
	if late != "" {
		v.problem(ProblemView, v.verdict.LastSeq, "", "", "%s", late)
	}
}

// leaseRevision is the revision of the leader's lease; 0 if nobody holds it.
func (l *Ledger) leaseRevision(ctx context.Context) (uint64, error) {
	entry, err := l.value(ctx, BucketLease, LeaseKey)
	if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return entry.Revision(), nil
}

// leaderLives waits, a little longer than a lease lives without its leader, and reports whether the lease
// was renewed since it had the revision.
func (v *verifier) leaderLives(ctx context.Context, since uint64) (bool, error) {
	for wait := time.Now().Add(leasePatience); ; {
		now, err := v.l.leaseRevision(ctx)
		if err != nil || now == 0 {
			return false, err
		}
		if now > since {
			return true, nil
		}
		if time.Now().After(wait) || !sleep(ctx, livePoll) {
			return false, ctx.Err()
		}
	}
}

// viewsLate waits until the views have reached the ledger's end as it was, and says why they have not.
func (v *verifier) viewsLate(ctx context.Context) (string, error) {
	if v.views.all == nil {
		return "", nil
	}
	last := v.verdict.LastSeq
	for wait := time.Now().Add(viewPatience); ; {
		all, err := v.l.countsDocument(ctx)
		if err != nil {
			return "", err
		}
		if all != nil && all.Seq >= last && all.Jobs.Seq >= last {
			return "", nil
		}
		if time.Now().After(wait) {
			if all == nil {
				return "the views were deleted and have not come back", nil
			}
			return fmt.Sprintf("the views have come to sequence %d, the ledger has been at %d for %s or longer", min(all.Seq, all.Jobs.Seq), last, viewPatience), nil
		}
		if !sleep(ctx, livePoll) {
			return "", ctx.Err()
		}
	}
}

// offerProblem is a Queued job without an offer, or the reverse.
type offerProblem struct {
	seq     schemas.Seq
	org     schemas.OrgID
	id      schemas.JobID
	message string
}

// offerProblems compares WORK with the Queued jobs. What does not match is looked at again until it does or
// has been so for too long: an offer is made after its queued, and goes after its running.
func (v *verifier) offerProblems(ctx context.Context) ([]offerProblem, error) {
	work, err := v.l.stream(ctx, StreamWork)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, err
	}
	queued := make(map[string]*Job) // by the subject of the offer that is to be there
	for _, vj := range v.jobs {
		if j := vj.job; j.State == schemas.StateQueued && !j.Unreadable {
			queued[offerOf(j)] = j
		}
	}
	offers, err := v.l.offersIn(ctx, work)
	if err != nil {
		return nil, err
	}
	stray := make(map[string]uint64) // offers without a Queued job, with their sequence in WORK
	for subject := range offers {
		_, _, org, _, ok := ParseOfferSubject(subject)
		if _, wanted := queued[subject]; !wanted && (v.cfg.Org == "" || ok && org == v.cfg.Org) {
			stray[subject] = 0
		}
	}
	for begin := time.Now(); ; {
		for subject := range queued {
			if offers[subject] > 0 {
				delete(queued, subject)
			}
		}
		if err := v.settleStrays(ctx, work, stray, offers); err != nil {
			return nil, err
		}
		took := time.Since(begin)
		if (len(queued) == 0 || took > queuedPatience) && (len(stray) == 0 || took > strayPatience) {
			return v.judgeOffers(ctx, work, queued, stray)
		}
		if !sleep(ctx, livePoll) {
			return nil, ctx.Err()
		}
		if offers, err = v.l.offersIn(ctx, work); err != nil {
			return nil, err
		}
	}
}

// settleStrays takes out the offers that are gone or replaced, and those whose job is Queued by now.
func (v *verifier) settleStrays(ctx context.Context, work jetstream.Stream, stray, offers map[string]uint64) error {
	for subject, seq := range stray {
		if offers[subject] == 0 {
			delete(stray, subject)
			continue
		}
		_, _, org, id, ok := ParseOfferSubject(subject)
		if ok {
			j, err := v.l.Fold(ctx, org, id)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			if j.State == schemas.StateQueued && offerOf(j) == subject {
				delete(stray, subject)
				continue
			}
		}
		now, err := offerSeq(ctx, work, subject)
		if err != nil {
			return err
		}
		if seq != 0 && now != seq {
			delete(stray, subject)
		} else {
			stray[subject] = now
		}
	}
	return nil
}

// judgeOffers reads the jobs that are left once more: what has moved on was no problem.
func (v *verifier) judgeOffers(ctx context.Context, work jetstream.Stream, queued map[string]*Job, stray map[string]uint64) ([]offerProblem, error) {
	var found []offerProblem
	for subject, was := range queued {
		j, err := v.l.Fold(ctx, was.Org, was.ID)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if j.State != schemas.StateQueued || j.LastSeq != was.LastSeq {
			continue
		}
		seq, err := offerSeq(ctx, work, subject)
		if err != nil {
			return nil, err
		}
		if seq == 0 {
			found = append(found, offerProblem{j.LastSeq, j.Org, j.ID, "the job is queued and has had no offer for " + queuedPatience.String()})
		}
	}
	for subject := range stray {
		_, _, org, id, _ := ParseOfferSubject(subject)
		found = append(found, offerProblem{0, org, id, "the offer " + subject + " is there and no such job has been queued for " + strayPatience.String()})
	}
	return found, nil
}

func offerOf(j *Job) string { return OfferSubject(j.Spec.Queue, j.Spec.Type, j.Org, j.ID) }

// offersIn is the number of messages by subject in WORK, none if it is not there.
func (l *Ledger) offersIn(ctx context.Context, work jetstream.Stream) (map[string]uint64, error) {
	if work == nil {
		return nil, nil
	}
	var info *jetstream.StreamInfo
	err := l.asking(ctx, func(ctx context.Context) (err error) {
		info, err = work.Info(ctx, jetstream.WithSubjectFilter(">"))
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", StreamWork, err)
	}
	return info.State.Subjects, nil
}

// offerSeq is the sequence in WORK of the offer on a subject; 0 if there is none.
func offerSeq(ctx context.Context, work jetstream.Stream, subject string) (uint64, error) {
	if work == nil {
		return 0, nil
	}
	m, err := work.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, nats.ErrNoResponders) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("offer %s: %w", subject, err)
	}
	return m.Sequence, nil
}

// sleep waits, and reports false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
