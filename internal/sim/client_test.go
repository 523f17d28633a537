package sim_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// runClient asks for jobs, and for changes of them, until all is said. One that takes the place of another goes
// on with what that had no answer to.
func runClient(ctx context.Context, p *party) error {
	w := p.world
	l, err := p.ledger("client")
	if err != nil {
		return err
	}
	if err := w.putSettings(ctx, l); err != nil {
		return err
	}
	var jobs sync.WaitGroup
	for _, plan := range w.plans {
		jobs.Go(func() { w.ask(ctx, l, plan) })
	}
	if w.ticking != nil {
		jobs.Go(func() { w.keepSchedules(ctx, l) })
	}
	if w.deletes {
		jobs.Go(func() { w.deleteOrg(ctx, l) })
	}
	jobs.Wait()
	return nil
}

// clientDone reports that all is said.
func (w *world) clientDone() bool {
	for _, p := range w.plans {
		p.mu.Lock()
		done := p.stage > len(p.later)
		p.mu.Unlock()
		if !done {
			return false
		}
	}
	return w.ticking.done()
}

// ask carries out what is left of one plan: the submit, until it is known to be stored, and then the changes.
func (w *world) ask(ctx context.Context, l *ledger.Ledger, p *plan) {
	if wait(ctx, time.Until(p.from)) != nil {
		return
	}
	for {
		p.mu.Lock()
		stage, id := p.stage, p.as
		p.mu.Unlock()
		var err error
		switch {
		case stage > len(p.later):
			return
		case stage == 0:
			w.chooseParents(p)
			id, err = w.submit(ctx, l, p)
		default:
			id, err = w.change(ctx, l, p, &p.later[stage-1], id)
		}
		if w.orgGone(err) {
			stage, err = len(p.later), nil // nothing more can be asked for
		}
		if err != nil {
			return // the process is dead, or something is wrong
		}
		p.mu.Lock()
		p.stage, p.as = stage+1, id
		p.mu.Unlock()
	}
}

// change gives one command, as often as it takes to hear an answer, a few times at most.
func (w *world) change(ctx context.Context, l *ledger.Ledger, p *plan, c *change, id schemas.JobID) (schemas.JobID, error) {
	if c.when != nil {
		if err := w.truth.await(ctx, id, c.when); err != nil {
			return id, err
		}
	}
	if err := wait(ctx, c.after); err != nil {
		return id, err
	}
	for try := 0; try < 5 || c.name == "lift"; try++ { // what is held would never end
		once, cancel := context.WithTimeout(ctx, submitTimeout)
		err := w.give(once, l, p, c, id)
		cancel()
		if ctx.Err() != nil {
			return id, ctx.Err()
		}
		if !errors.Is(err, ledger.ErrUnknown) && codeOf(err) != ledger.CodeUnavailable {
			break
		}
		if err := wait(ctx, time.Second); err != nil {
			return id, err
		}
	}
	if c.again {
		return w.submit(ctx, l, p)
	}
	return id, nil
}

// give carries one command out.
func (w *world) give(ctx context.Context, l *ledger.Ledger, p *plan, c *change, id schemas.JobID) (err error) {
	switch c.name {
	case "": // nothing: the job is only submitted again
	case "hold", "lift":
		err = w.setHold(ctx, l, p, c.name == "hold")
	case "hold history", "add token", "read notices", "note a check":
		err = w.setAside(ctx, l, p, c.name)
	case "unmask":
		_, err = l.Unmask(ctx, &schemas.Unmasked{Org: testOrg, Job: p.id, Type: p.typ, Reason: "the simulation asks"}, ledger.Meta{})
	case "close breaker":
		_, err = l.CloseBreaker(ctx, testOrg, p.typ, ledger.Meta{}, "the simulation asks")
	case "drain its worker", "crash its worker":
		w.net.ask(func() { w.deed(id, c.name) })
	default:
		_, _, err = l.Do(ctx, testOrg, id, c.command(time.Now()), ledger.Meta{})
	}
	return err
}

// submit asks until there is an answer that is none of the network's.
func (w *world) submit(ctx context.Context, l *ledger.Ledger, p *plan) (schemas.JobID, error) {
	for {
		once, cancel := context.WithTimeout(ctx, submitTimeout)
		receipt, err := l.Submit(once, p.request())
		cancel()
		if err == nil {
			w.truth.acknowledged(receipt)
			return receipt.ID, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if w.orgGone(err) {
			return receipt.ID, err
		}
		if ledger.AsError(err).Code != ledger.CodeUnavailable {
			w.truth.fail("submit %d was refused: %v", p.n, err)
			return receipt.ID, err
		}
		if err := wait(ctx, time.Second); err != nil {
			return receipt.ID, err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func codeOf(err error) ledger.Code {
	if e := ledger.AsError(err); e != nil {
		return e.Code
	}
	return ""
}
