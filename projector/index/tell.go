package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
)

// Who checks the index has all its rows walked, which takes minutes of a large one. Meanwhile he hears of the server every
// partEvery, also while he waits for his turn; each part asks whether he listens still, and the walk ends when he does not.

// tellersMax is how many who ask for all rows are answered at once. One walk is under way; the others wait for it.
const tellersMax = 4

var (
	// errNobody: who asked for rows does not listen any more.
	errNobody = errors.New("nobody listens")
	// errTaken: the file is closed, or thrown away. A walk does not hold that up.
	errTaken = errors.New("the file is taken away meanwhile: ask again")
)

// rowsAsked is somebody who checks the index against the ledger.
type rowsAsked struct {
	m   *nats.Msg
	ask ledger.IndexRows
}

// take has somebody answered by one of those who tell rows.
func (x *Index) take(m *nats.Msg, ask *ledger.IndexRows) {
	if m.Reply == "" {
		return
	}
	select {
	case x.tellers <- struct{}{}:
		x.asked <- rowsAsked{m, *ask} // has room for as many
	default:
		x.respond(m, &ledger.IndexPart{Error: "it is telling others its rows"})
	}
}

// tellRows answers them, one after the other, until ctx ends. There are tellersMax that do.
func (x *Index) tellRows(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-x.asked:
			if err := x.tell(ctx, a.m, &a.ask); err != nil {
				x.cfg.Logger.Debug("who asked for the rows of the index was not told all", zap.Error(err))
			}
			<-x.tellers
		}
	}
}

// tell answers one of them.
func (x *Index) tell(ctx context.Context, m *nats.Msg, ask *ledger.IndexRows) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	conn := x.cfg.Ledger.Conn()
	unheard := conn.NewInbox()
	sub, err := conn.Subscribe(unheard, func(*nats.Msg) { stop(errNobody) }) // no responders: nothing else comes there
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, which ends it too
	parts := 0
	part := func(p *ledger.IndexPart) {
		p.Part = parts
		parts++
		body, err := json.Marshal(p)
		if err == nil {
			err = conn.PublishMsg(&nats.Msg{Subject: m.Reply, Reply: unheard, Data: body})
		}
		if err != nil {
			stop(err)
		}
	}
	part(&ledger.IndexPart{})
	if err = x.eachPart(ctx, ask, part); err != nil {
		part(&ledger.IndexPart{Error: err.Error()})
	}
	return err
}

// eachPart tells the rows as they are at one position.
func (x *Index) eachPart(ctx context.Context, ask *ledger.IndexRows, tell func(*ledger.IndexPart)) error {
	if err := x.await(ctx, x.walks, tell); err != nil {
		return err
	}
	defer func() { <-x.walks }()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	x.mu.Lock()
	x.walk = stop
	x.mu.Unlock()
	err := x.read(ctx, func(f *file) error {
		if err := x.await(ctx, f.long, tell); err != nil {
			return err
		}
		defer func() { <-f.long }()
		tx, err := f.reads.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // it has read only
		at, err := position(ctx, tx)
		if err != nil {
			return err
		}
		t := &teller{ctx: ctx, q: tx, ask: ask, tell: tell, part: ledger.IndexPart{Position: at}, counts: ledger.Counts{}, every: x.partEvery}
		return t.run(f)
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// await waits for a place, and lets who waits with it know that he is not forgotten.
func (x *Index) await(ctx context.Context, places chan<- struct{}, tell func(*ledger.IndexPart)) error {
	again := time.NewTicker(x.partEvery)
	defer again.Stop()
	for {
		select {
		case places <- struct{}{}:
			return nil
		case <-again.C:
			tell(&ledger.IndexPart{})
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// endWalk ends the walk under way. x.mu is held.
func (x *Index) endWalk() {
	if x.walk != nil {
		x.walk(errTaken)
	}
}
