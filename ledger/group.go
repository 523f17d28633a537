package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/internal/groups"
)

// Where each event is synced before it is acknowledged by the one server that has it, one after the other, appends that are
// made at the same time go together, as one batch with one sync (DESIGN D12). That is said in LEDGER's metadata, so that every
// writer knows it, whatever program it is: where writes are not synced one by one, batches are slower.

// GroupCommit is whether appends that meet go together.
type GroupCommit int

// What ProvisionConfig.GroupCommit may say.
const (
	GroupCommitKeep GroupCommit = iota // as it is
	GroupCommitOn
	GroupCommitOff
)

const (
	// metaGroup is in LEDGER's metadata where appends go together.
	metaGroup = "jobledger.group_commit"
	// groupWait is how long a group's answer is waited for.
	groupWait = RequestTimeout
	// groupLinger is how long a batch waits for more behind another: a part of what a batch costs by itself.
	groupLinger = 2 * time.Millisecond
)

// groupsOf reads from a stream's configuration whether appends to it go together.
func groupsOf(c *jetstream.StreamConfig) bool {
	return c.AllowAtomicPublish && c.Replicas <= 1 && c.Metadata[metaGroup] != ""
}

// set changes a configuration of LEDGER to what is wanted; false: it is that already.
func (g GroupCommit) set(c *jetstream.StreamConfig) bool {
	on := g == GroupCommitOn && c.Replicas <= 1
	if g == GroupCommitKeep || on == groupsOf(c) && on == (c.Metadata[metaGroup] != "") {
		return false
	}
	c.Metadata = maps.Clone(c.Metadata)
	delete(c.Metadata, metaGroup)
	if c.AllowAtomicPublish = on; on {
		c.Metadata[metaGroup] = "1"
	}
	return true
}

// groupBucket has an older bucket take batches; it is written as LEDGER is. A new one takes them from the beginning.
func (l *Ledger) groupBucket(ctx context.Context, bucket string) error {
	return l.asking(ctx, func(ctx context.Context) error {
		s, err := l.js.Stream(ctx, "KV_"+bucket)
		if err != nil {
			return err
		}
		c := s.CachedInfo().Config
		if c.AllowAtomicPublish {
			return nil
		}
		c.AllowAtomicPublish = true
		_, err = l.js.UpdateStream(ctx, c)
		return err
	})
}

// Groups reports whether appends to LEDGER that meet go together, as far as that is known; the views are written likewise. It
// looks once a minute.
func (l *Ledger) Groups(ctx context.Context) bool {
	if by, ok := ctx.(*replyBy); ok {
		ctx = by.Context // nobody but request keeps that deadline, and others set none of their own behind it
	}
	_ = l.Level(ctx) // whether this program may work on it is not asked here
	c := l.config.Load()
	return c != nil && c.groups
}

// gatherer sends what this process appends to LEDGER at the same time as one batch. Alone, or with few others, an append goes
// at once and by itself; while a batch is under way the next one gathers. It has a goroutine only while something is under way.
type gatherer struct {
	l *Ledger
	// commit and alone write a batch and one message; tests replace them.
	commit func(ctx context.Context, msgs []*nats.Msg, wait time.Duration) (uint64, error)
	alone  PublishFunc

	mu      sync.Mutex
	waiting []*gathered
	singles int  // under way by themselves
	batch   bool // one is under way
	// Those whose batch has just ended come again with what follows, as a worker does: the next one waits for them, until
	// there are as many as enough, or lingers no longer.
	linger *time.Timer // nil: it does not
	enough int
}

// gathered is a message that waits for others, or for its answer.
type gathered struct {
	m    *nats.Msg // whose header is not changed any more
	came chan gatheredAnswer
}

type gatheredAnswer struct {
	m   *nats.Msg
	err error
}

func newGatherer(l *Ledger) *gatherer {
	return &gatherer{l: l, alone: l.request, commit: func(ctx context.Context, msgs []*nats.Msg, wait time.Duration) (uint64, error) {
		return groups.Commit(ctx, l.replies, l.nc, msgs, wait)
	}}
}

// publish is the ledger's PublishFunc: it answers as the server does to each message by itself.
func (g *gatherer) publish(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	if !isLedgerSubject(m.Subject) || !g.l.Groups(ctx) {
		return g.alone(ctx, m)
	}
	g.mu.Lock()
	if !g.batch && g.linger == nil && g.singles < groups.Worth {
		g.singles++
		g.mu.Unlock()
		defer g.ended(&g.singles)
		return g.alone(ctx, m)
	}
	w := &gathered{m: &nats.Msg{Subject: m.Subject, Header: maps.Clone(m.Header), Data: m.Data}, came: make(chan gatheredAnswer, 1)}
	g.waiting = append(g.waiting, w)
	if g.linger != nil && len(g.waiting) >= g.enough && g.linger.Stop() {
		g.linger = nil
		g.next()
	}
	g.mu.Unlock()
	wait := SettleTimeout
	if until, ok := ctx.Deadline(); ok {
		wait = time.Until(until)
	}
	late := time.NewTimer(wait)
	defer late.Stop()
	err := context.DeadlineExceeded
	select {
	case a := <-w.came:
		return a.m, a.err
	case <-late.C:
		if g.forget(w) {
			return nil, err
		}
		// It is under way. Sent once more it would be in the next batch, which would be refused for it.
		select {
		case a := <-w.came:
			return a.m, a.err
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	g.forget(w)
	return nil, ctx.Err()
}

// isLedgerSubject reports whether LEDGER takes a subject.
func isLedgerSubject(s string) bool {
	return strings.HasPrefix(s, "jobs.") || strings.HasPrefix(s, "control.")
}

// forget takes out what waits still; false: it is under way and may be stored, as after any append without an answer.
func (g *gatherer) forget(w *gathered) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, w)
	if i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	return i >= 0
}

// ended is the end of one by itself.
func (g *gatherer) ended(n *int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	*n--
	g.next()
}

// next begins what can begin. g.mu is held.
func (g *gatherer) next() {
	switch n := len(g.waiting); {
	case g.batch || g.linger != nil || n == 0:
	case n >= groups.Worth:
		if together := g.take(); len(together) >= groups.Worth {
			g.batch = true
			go g.together(together)
		} else {
			g.apart(together)
		}
	case g.singles+n <= groups.Worth:
		g.apart(g.waiting)
		g.waiting = nil
	}
}

// take takes the next messages for a batch, the first of each subject. g.mu is held.
func (g *gatherer) take() (taken []*gathered) {
	var left []*gathered
	seen, bytes := make(map[string]bool, len(g.waiting)), 0
	for _, w := range g.waiting {
		size := w.m.Size()
		if seen[w.m.Subject] || len(taken) == groups.Max || len(taken) > 0 && bytes+size > groups.MaxBytes {
			left = append(left, w)
		} else {
			taken, bytes = append(taken, w), bytes+size
		}
		seen[w.m.Subject] = true // a later one does not overtake it either
	}
	g.waiting = left
	return taken
}

// together sends a batch, and what came of it to those who wait. If this process dies here, all of it is stored or nothing.
func (g *gatherer) together(batch []*gathered) {
	msgs := make([]*nats.Msg, len(batch))
	for i, w := range batch {
		msgs[i] = w.m
	}
	ctx, cancel := context.WithCancel(context.Background())
	stop := g.watch(cancel)
	first, err := g.commit(ctx, msgs, groupWait)
	stop()
	var refused *groups.RefusedError
	var unsettled *groups.UnsettledError
	apart := errors.As(err, &refused)
	for i, w := range batch {
		switch {
		case err == nil:
			w.came <- gatheredAnswer{m: &nats.Msg{Data: ackOf(first + uint64(i))}}
		case errors.As(err, &unsettled):
			w.came <- gatheredAnswer{m: &nats.Msg{Data: unsettled.Answer}}
		case !apart:
			w.came <- gatheredAnswer{err: err}
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.batch = false; apart { // one of them is the reason: each goes on by itself
		g.apart(batch)
		g.next()
		return
	}
	g.enough = min(len(g.waiting)+len(batch), groups.Max)
	g.linger = time.AfterFunc(groupLinger, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.linger = nil
		g.next()
	})
}

// watch gives a batch up whose answer went with the connection that it was to come on: everybody waits for it. It ends with stop.
func (g *gatherer) watch(giveUp context.CancelFunc) (stop func()) {
	over, done := make(chan struct{}), make(chan struct{})
	before := g.l.nc.Stats().Reconnects
	go func() {
		defer close(done)
		look := time.NewTicker(replyTimeoutMin)
		defer look.Stop()
		for g.l.nc.Stats().Reconnects == before {
			select {
			case <-look.C:
			case <-over:
				return
			}
		}
		giveUp()
	}()
	return func() { close(over); <-done; giveUp() }
}

// apart sends each by itself, all at once. g.mu is held.
func (g *gatherer) apart(all []*gathered) {
	g.singles += len(all)
	for _, w := range all {
		go func() {
			defer g.ended(&g.singles)
			ctx, cancel := context.WithTimeout(context.Background(), groupWait)
			defer cancel()
			m, err := g.alone(ctx, w.m)
			w.came <- gatheredAnswer{m, err}
		}()
	}
}

// ackOf is the server's answer to a message that is stored, as PlainAck reads it.
func ackOf(seq uint64) []byte { return fmt.Appendf(nil, `{"stream":%q,"seq":%d}`, StreamLedger, seq) }
