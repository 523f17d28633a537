package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// SubjectIndex takes an IndexAsk; every server that keeps a query index answers with an IndexState. It is core NATS between
// a person's program and the servers.
const SubjectIndex = "jl.index"

const (
	// indexSilence is how long after the last answer the next may come.
	indexSilence = 500 * time.Millisecond
	// indexAnswers is how many may wait to be read.
	indexAnswers = 256
	// IndexGone is how long a server that is waited for may say nothing, as a worker's session may: then it has ended, as a rule.
	IndexGone = PresenceTTL
)

// IndexAsk asks servers about their query indexes.
type IndexAsk struct {
	// Rebuild has each throw its index away and fold it again.
	Rebuild bool `json:"rebuild,omitempty"`
	// Server is the one that is asked; empty: all.
	Server string `json:"server,omitempty"`
	// Rows has that one tell its rows, in IndexParts.
	Rows *IndexRows `json:"rows,omitempty"`
}

// IndexState is how one server's index stands.
type IndexState struct {
	Server           string `json:"server"`
	schemas.Position        // of the last message in it
	Serves           bool   `json:"serves"` // false while it is folded, or cannot be kept
	Bytes            int64  `json:"bytes"`  // of its file
}

// Indexes asks all servers, and returns what those say that answer at once, by name; none where no server keeps an index.
func (l *Ledger) Indexes(ctx context.Context, ask IndexAsk) ([]IndexState, error) {
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	inbox, answers := l.nc.NewInbox(), make(chan *nats.Msg, indexAnswers)
	sub, err := l.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, which ends it too
	if err := l.nc.PublishRequest(SubjectIndex, inbox, body); err != nil {
		return nil, err
	}
	silence := time.NewTimer(indexSilence)
	defer silence.Stop()
	var all []IndexState
	for {
		select {
		case m := <-answers:
			if lastValue(m.Header, headerStatus) != "" { // no responders
				return nil, nil
			}
			var s IndexState
			if err := json.Unmarshal(m.Data, &s); err != nil {
				return nil, fmt.Errorf("answer of a server about its index: %w", err)
			}
			all = append(all, s)
			silence.Reset(indexSilence)
		case <-silence.C:
			slices.SortFunc(all, func(a, b IndexState) int { return cmp.Compare(a.Server, b.Server) })
			return all, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// RebuiltIndexes is what became of the indexes of those servers that were asked to fold them again.
type RebuiltIndexes struct {
	Servers int         // that serve again up to Seq
	Gone    []string    // servers that were not heard of for IndexGone: what they keep is not known
	Seq     schemas.Seq // the ledger's end at the call
}

// RebuildIndexes has every server fold its index again, and waits until those that answered serve again up to the ledger's
// end at the call, or are gone: a server that starts again bears another name. The error wraps that of ctx.
func (l *Ledger) RebuildIndexes(ctx context.Context) (RebuiltIndexes, error) {
	at, err := l.End(ctx)
	if err != nil {
		return RebuiltIndexes{}, err
	}
	asked, err := l.Indexes(ctx, IndexAsk{Rebuild: true})
	if err != nil || len(asked) == 0 {
		return RebuiltIndexes{Seq: at.Seq}, err
	}
	w := newIndexWait(asked, at.Seq, time.Now())
	for {
		now, err := l.Indexes(ctx, IndexAsk{})
		if err != nil {
			return RebuiltIndexes{}, fmt.Errorf("wait for %d indexes: %w", len(asked), err)
		}
		if w.look(now, time.Now()) {
			return w.rebuilt(), nil
		}
		if len(now) > 0 {
			continue // it took a while to know that nobody else answers
		}
		pause := time.NewTimer(indexSilence)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return RebuiltIndexes{}, fmt.Errorf("wait for %d indexes: %w", len(asked), ctx.Err())
		}
	}
}

// indexWait is the wait for servers' indexes.
type indexWait struct {
	end    schemas.Seq
	heard  map[string]time.Time // when of each that is waited for
	served int
	gone   []string
}

func newIndexWait(asked []IndexState, end schemas.Seq, now time.Time) *indexWait {
	w := &indexWait{end: end, heard: make(map[string]time.Time)}
	for _, s := range asked {
		w.heard[s.Server] = now
	}
	return w
}

// look takes in what servers say now, and reports whether there is nothing to wait for.
func (w *indexWait) look(states []IndexState, now time.Time) (over bool) {
	for _, s := range states {
		if _, waited := w.heard[s.Server]; !waited {
			continue
		}
		w.heard[s.Server] = now
		if s.Serves && s.Seq >= w.end {
			delete(w.heard, s.Server)
			w.served++
		}
	}
	for name, at := range w.heard {
		if now.Sub(at) >= IndexGone {
			delete(w.heard, name)
			w.gone = append(w.gone, name)
		}
	}
	return len(w.heard) == 0
}

func (w *indexWait) rebuilt() RebuiltIndexes {
	slices.Sort(w.gone)
	return RebuiltIndexes{Servers: w.served, Gone: w.gone, Seq: w.end}
}
