package ledger

import (
	"context"
	"errors"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// watchJobsMax bounds what a watch remembers: of more jobs the oldest are forgotten, and old progress of one of
// those could be shown once more.
const watchJobsMax = 10_000

// Update is what a watch tells: an event, or the progress of an attempt.
type Update struct {
	Entry    *Entry
	Progress *LiveProgress // nil for an event
}

// Watch is Follow that also tells what attempts of q.Org report, merged to the latest: never the progress of an
// attempt that has ended or was followed by another, as far as fn was told, and none twice. Progress has no
// position and may be missed; events are not. fn is called by one goroutine at a time; what it returns ends the
// watch and is returned. q.Org is required; a query for some kind of events has no progress.
func (l *Ledger) Watch(ctx context.Context, q ReplayQuery, fn func(Update) error) error {
	if q.Org == "" {
		return badField("org", errors.New("a watch is of one org"))
	}
	if err := q.validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &watch{q: q, fn: fn, standings: make(map[schemas.JobID]attemptSeen), heard: make(map[schemas.JobID]*LiveProgress), more: make(chan struct{}, 1)}
	if q.Event == "" {
		job := q.Job
		if job == "" {
			job = "*"
		}
		sub, err := l.nc.Subscribe(ProgressSubject(q.Org, job), w.hear)
		if err != nil {
			return coded(err)
		}
		defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, which ends it too
	}
	var told sync.WaitGroup
	told.Go(func() {
		if err := w.tell(ctx); err != nil {
			cancel(err)
		}
	})
	err := l.Follow(ctx, q, w.event)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(err)
	told.Wait()
	return err
}

// watch is one call of Watch.
type watch struct {
	q  ReplayQuery
	fn func(Update) error

	mu        sync.Mutex // held while fn is called
	standings map[schemas.JobID]attemptSeen
	order     []schemas.JobID // of standings, oldest first

	hearing sync.Mutex
	heard   map[schemas.JobID]*LiveProgress // latest of each, not told yet; at most watchJobsMax
	more    chan struct{}                   // capacity 1
}

// attemptSeen is the newest attempt of a job that was told of.
type attemptSeen struct {
	fence schemas.Seq
	ended bool
	n     uint64 // LiveProgress.N
}

func (w *watch) event(e *Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Err == nil {
		w.note(e.Event)
	}
	return w.fn(Update{Entry: e})
}

// note remembers which attempt runs.
func (w *watch) note(e *schemas.Event) {
	var fence schemas.Fence
	switch d := e.Data.(type) {
	case *schemas.Running:
		w.saw(e.Job, attemptSeen{fence: e.Seq})
		return
	case *schemas.CancelRequested, *schemas.Checkpointed, *schemas.LateResult:
		return
	case *schemas.Canceled:
		fence = d.Fence
	case *schemas.DeadLettered:
		fence = d.Fence
	case interface{ Named() *schemas.AttemptHead }:
		fence = d.Named().Fence
	}
	if !fence.IsZero() {
		w.saw(e.Job, attemptSeen{fence: fence.Seq, ended: true})
	}
}

// saw takes what is newer: progress can be ahead of the events.
func (w *watch) saw(job schemas.JobID, a attemptSeen) {
	s, ok := w.standings[job]
	if a.fence < s.fence {
		return
	}
	if a.fence == s.fence {
		a.ended, a.n = a.ended || s.ended, max(a.n, s.n)
	}
	if !ok {
		if len(w.order) == watchJobsMax {
			delete(w.standings, w.order[0])
			w.order = w.order[1:]
		}
		w.order = append(w.order, job)
	}
	w.standings[job] = a
}

// hear takes progress off the connection; fn may be slow.
func (w *watch) hear(m *nats.Msg) {
	p, err := DecodeProgress(m.Subject, m.Data)
	if err != nil || w.q.Type != "" && p.Type != w.q.Type {
		return // not ours: what no worker of ours wrote is not worth a word either
	}
	w.hearing.Lock()
	if old := w.heard[p.Job]; old == nil && len(w.heard) < watchJobsMax || old != nil && p.Fence.Seq >= old.Fence.Seq {
		w.heard[p.Job] = p
	}
	w.hearing.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// tell hands progress on until ctx ends, or fn says no.
func (w *watch) tell(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.more:
		}
		w.hearing.Lock()
		all := w.heard
		w.heard = make(map[schemas.JobID]*LiveProgress)
		w.hearing.Unlock()
		for _, p := range all {
			if err := w.progress(ctx, p); err != nil {
				return err
			}
		}
	}
}

func (w *watch) progress(ctx context.Context, p *LiveProgress) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.standings[p.Job]
	if p.Fence.Seq < s.fence || p.Fence.Seq == s.fence && (s.ended || p.N <= s.n) || ctx.Err() != nil {
		return nil
	}
	w.saw(p.Job, attemptSeen{fence: p.Fence.Seq, n: p.N})
	return w.fn(Update{Progress: p})
}
