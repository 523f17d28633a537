package sim_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
)

// checkEnd holds the end of a run to what must be true then: every job has ended, every acknowledged submit
// is in the ledger, the leader's counts and all views are those of a fold from zero, and nothing is left.
func (w *world) checkEnd() error {
	if !w.clientDone() {
		return fmt.Errorf("%s after the faults ended a client still has no answer", settleWithin)
	}
	if left := w.unfinished(); len(left) > 0 {
		return fmt.Errorf("%s after the faults ended:\n%s", settleWithin, strings.Join(left, "\n"))
	}
	for i := range w.truth.receipts {
		w.judgeReceipt(&w.truth.receipts[i])
	}
	if err := w.truth.failure(); err != nil {
		return err
	}
	if err := w.settled(); err != nil {
		return fmt.Errorf("%s after the faults ended: %w", settleWithin, err)
	}
	if w.ticking != nil {
		made, err := w.judgeTicks()
		if err != nil {
			return err
		}
		w.truth.ticks = made
	}
	return w.checkFolds()
}

// settled looks at what must come true once all jobs have ended: no offer is left, and the one leader's core
// holds nothing of them.
func (w *world) settled() error {
	if s := w.net.engine.streams["WORK"]; s == nil || len(s.messages) > 0 {
		return fmt.Errorf("WORK is not there, or holds offers of jobs that ended")
	}
	leaders := 0
	for _, p := range w.live("server") {
		p.mu.Lock()
		host := p.host
		p.mu.Unlock()
		if host == nil {
			return fmt.Errorf("%s has not come up", p.name)
		}
		st := host.Status()
		if st.Core.Queued != 0 || st.Core.Running != 0 || st.Core.Duplicates != 0 || st.Core.Parked != 0 {
			return fmt.Errorf("the core of %s does not agree with a fold from zero: %+v", p.name, st.Core)
		}
		if !st.Leading {
			continue
		}
		leaders++
		if st.Core.Waiting != 0 || st.Core.InFlight != 0 {
			return fmt.Errorf("the leader %s does not agree with a fold from zero: %+v", p.name, st.Core)
		}
		alive, dying := w.workers()
		if s := st.Core.Slots; s < alive*slotsPerWorker || s > (alive+dying)*slotsPerWorker || st.Core.Busy != 0 {
			return fmt.Errorf("the leader %s counts slots wrong for %d workers and %d that are just dead: %+v", p.name, alive, dying, st.Core)
		}
	}
	if leaders != 1 {
		return fmt.Errorf("%d servers lead", leaders)
	}
	return nil
}

// workers counts those that live, and those that are gone for less than a lease, which the leader may take for alive.
func (w *world) workers() (alive, dying int) {
	for _, p := range w.parties {
		switch {
		case p.role == "worker" && !p.crashed:
			alive++
		case (p.role == "worker" || p.role == "leaving") && time.Since(p.troubledAt) < ledger.Lease+troubleLasts:
			dying++
		}
	}
	return alive, dying
}

// checkFolds runs ledger.Verify, which folds all from zero and compares the views.
func (w *world) checkFolds() error {
	var verdict *ledger.Verdict
	p := w.spawn("checker", func(ctx context.Context, p *party) error {
		l, err := p.ledger("check")
		if err != nil {
			return err
		}
		verdict, err = ledger.Verify(ctx, ledger.VerifyConfig{Ledger: l, Full: true, Limits: true})
		return err
	})
	err := w.net.run(p.hasEnded)
	if err == nil {
		err = p.err
	}
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if verdict.OK {
		return nil
	}
	var b strings.Builder
	for _, x := range verdict.Examples {
		fmt.Fprintf(&b, "\n%s at %d: %s", x.Kind, x.Seq, x.Message)
	}
	return fmt.Errorf("verify found problems:%s", b.String())
}
