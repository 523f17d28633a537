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
)

// IndexAsk asks servers about their query indexes.
type IndexAsk struct {
	// Rebuild has each throw its index away and fold it again.
	Rebuild bool `json:"rebuild,omitempty"`
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

// RebuildIndexes has every server fold its index again, and waits until those that answered serve again up to the ledger's
// end at the call, which it returns with how many they are. The error wraps that of ctx.
func (l *Ledger) RebuildIndexes(ctx context.Context) (servers int, end schemas.Seq, err error) {
	at, err := l.End(ctx)
	if err != nil {
		return 0, 0, err
	}
	asked, err := l.Indexes(ctx, IndexAsk{Rebuild: true})
	if err != nil || len(asked) == 0 {
		return 0, at.Seq, err
	}
	for {
		now, err := l.Indexes(ctx, IndexAsk{})
		if err != nil {
			return 0, 0, fmt.Errorf("wait for %d indexes: %w", len(asked), err)
		}
		if !slices.ContainsFunc(asked, func(a IndexState) bool {
			return !slices.ContainsFunc(now, func(s IndexState) bool { return s.Server == a.Server && s.Serves && s.Seq >= at.Seq })
		}) {
			return len(asked), at.Seq, nil
		}
	}
}
