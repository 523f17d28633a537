package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dartwing/jobledger/internal/historydb"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// replaySQLite writes the chosen events into a SQLite file, and how all jobs of the question stood at its end: for that
// everything before the end is read, also what --from, --event and --actor leave out of the events.
func (p *program) replaySQLite(ctx context.Context, l *ledger.Ledger, q ledger.ReplayQuery, name string) error {
	if err := p.mayWrite(name, "write it anew with --force"); err != nil {
		return err
	}
	out, err := historydb.Create(ctx, name)
	if err != nil {
		return err
	}
	var last schemas.Seq
	show := p.newLiveLine()
	// Of any type: a job whose id was of another type before is not folded from the middle.
	all := ledger.ReplayQuery{Org: q.Org, Job: q.Job, To: q.To, Foreign: true, Progress: func(at, end schemas.Seq) {
		last = at
		show.set(func() string { return progressOf(1, uint64(at), uint64(end)) })
	}}
	err = l.Replay(ctx, all, func(e *ledger.Entry) error {
		out.Fold(e)
		if !q.Matches(e) || errors.Is(e.Err, schemas.ErrForeign) {
			return nil
		}
		return out.Put(e)
	})
	if err != nil {
		show.clear()
		out.Discard()
		return err
	}
	show.now("writing how the jobs stand")
	err = out.Finish(historydb.About{Question: questionOf(&q), Version: version, Last: last, At: p.Now(), Type: q.Type})
	show.clear()
	if err == nil {
		p.talkf("last seq %d", last)
	}
	return err
}

// questionOf says what a replay was asked for.
func questionOf(q *ledger.ReplayQuery) string {
	var parts []string
	for _, part := range [...]struct{ name, value string }{{"org", string(q.Org)}, {"job", string(q.Job)}, {"type", string(q.Type)},
		{"event", string(q.Event)}, {"actor", q.Actor}, {"from", boundText(q.From)}, {"to", boundText(q.To)}} {
		if part.value != "" {
			parts = append(parts, part.name+"="+part.value)
		}
	}
	return strings.Join(parts, " ")
}

func boundText(b ledger.ReplayBound) string {
	switch {
	case b.Seq > 0:
		return b.Seq.String()
	case !b.Time.IsZero():
		return fmt.Sprint(b.Time.UTC().Format("2006-01-02T15:04:05.999999999Z"))
	}
	return ""
}
