//go:build unix

package storm_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// headerExpected is the revision that a put expected: which one it follows.
const headerExpected = "Nats-Expected-Last-Subject-Sequence"

var viewStreams = []string{"KV_" + ledger.BucketJobs, "KV_" + ledger.BucketCounts}

// views watches JOBS and COUNTS: the sequence at which a document is true never goes back (DESIGN D9).
type views struct {
	t  *testing.T
	js jetstream.JetStream
	// halt ends the watching and returns when it has ended.
	halt func()

	mu     sync.Mutex
	seen   map[string]uint64      // stream: last revision
	at     map[string]schemas.Seq // subject: sequence of its latest document
	rev    map[string]uint64      // subject: its revision
	puts   int
	missed int           // put and replaced before they were seen
	moved  chan struct{} // closed and replaced with each put
	again  chan struct{} // closed and replaced when the connection is back
}

// document is what every document says of when it is true.
type document struct {
	Seq  schemas.Seq      `json:"seq"`
	Jobs schemas.Position `json:"jobs"` // of COUNTS/all
}

func watchViews(t *testing.T, url string) *views {
	t.Helper()
	v := &views{t: t, seen: make(map[string]uint64), at: make(map[string]schemas.Seq), rev: make(map[string]uint64),
		moved: make(chan struct{}), again: make(chan struct{})}
	js, err := jetstream.New(connect(t, url, nats.ReconnectHandler(func(*nats.Conn) { v.reconnected() })))
	if err != nil {
		t.Fatal(err)
	}
	v.js = js
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, stream := range viewStreams {
		wg.Go(func() { v.watch(ctx, stream) })
	}
	v.halt = func() { cancel(); wg.Wait() }
	t.Cleanup(v.halt)
	return v
}

// reconnected ends the reading of consumers that may have died with their server.
func (v *views) reconnected() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.again)
	v.again = make(chan struct{})
}

// watch reads a bucket's stream until ctx ends. A consumer whose server dies is replaced by one that begins
// behind what was seen: a reader of the client's own that heals itself was seen to stay silent for ever.
func (v *views) watch(ctx context.Context, stream string) {
	for ctx.Err() == nil {
		v.mu.Lock()
		next, again := v.seen[stream]+1, v.again
		v.mu.Unlock()
		v.read(ctx, stream, next, again)
	}
}

// read hands over what is stored from revision next on, until something is in its way.
func (v *views) read(ctx context.Context, stream string, next uint64, again <-chan struct{}) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-again:
			stop()
		case <-ctx.Done():
		}
	}()
	create, cancel := context.WithTimeout(ctx, 2*time.Second) // a request that meets an election is never answered
	defer cancel()
	c, err := v.js.CreateConsumer(create, stream, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true,
		Replicas: 1, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: next, InactiveThreshold: 30 * time.Second})
	if err != nil {
		<-create.Done() // not to ask in a busy loop
		return
	}
	it, err := c.Messages(jetstream.PullMaxMessages(500), jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(10*time.Second))
	if err != nil {
		return
	}
	defer it.Stop()
	for inOrder := uint64(1); ; inOrder++ {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return
		}
		meta, err := m.Metadata()
		if err != nil || meta.Sequence.Consumer != inOrder {
			return // some were lost on the way
		}
		v.see(stream, meta.Sequence.Stream, m)
	}
}

// see takes one put; they come in the order in which they were stored.
func (v *views) see(stream string, revision uint64, m jetstream.Msg) {
	v.mu.Lock()
	defer v.mu.Unlock()
	subject := m.Subject()
	v.seen[stream] = revision
	defer func() {
		close(v.moved)
		v.moved = make(chan struct{})
	}()
	if len(m.Data()) == 0 {
		return // a marker: the document was deleted
	}
	var doc document
	if err := json.Unmarshal(m.Data(), &doc); err != nil {
		v.t.Errorf("%s at revision %d: %v", subject, revision, err)
		return
	}
	v.puts++
	if expected := m.Headers().Get(headerExpected); expected != "" && v.rev[subject] != 0 && expected != decimal(v.rev[subject]) {
		v.missed++
	}
	v.rev[subject] = revision
	v.forward(subject, revision, doc.Seq)
	if doc.Jobs.Seq > 0 {
		v.forward(subject+" (jobs)", revision, doc.Jobs.Seq)
	}
}

// forward notes a position; mu is held.
func (v *views) forward(what string, revision uint64, seq schemas.Seq) {
	if seq < v.at[what] {
		v.t.Errorf("%s went back from sequence %d to %d at revision %d", what, v.at[what], seq, revision)
	}
	v.at[what] = max(v.at[what], seq)
}

// awaitPut returns as a document is stored: the leader is in the middle of writing.
func (v *views) awaitPut() {
	v.t.Helper()
	v.mu.Lock()
	moved := v.moved
	v.mu.Unlock()
	select {
	case <-moved:
	case <-time.After(patience):
		v.t.Fatal("no document is written")
	}
}

// end ends the watching when all that is stored now has been seen, and prints how much that was.
func (v *views) end() {
	v.t.Helper()
	defer v.halt()
	ctx, cancel := context.WithTimeout(v.t.Context(), patience)
	defer cancel()
	for _, stream := range viewStreams {
		s, err := v.js.Stream(ctx, stream)
		if err != nil {
			v.t.Errorf("watch %s: %v", stream, err)
			return
		}
		v.await(stream, s.CachedInfo().State.LastSeq)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.at) == 0 {
		v.t.Error("no document was seen")
	}
	v.t.Logf("views: %d puts of %d documents seen, none went back; %d were replaced before they could be seen", v.puts, len(v.rev), v.missed)
}

func (v *views) await(stream string, revision uint64) {
	v.t.Helper()
	limit := time.After(patience)
	for {
		v.mu.Lock()
		seen, moved := v.seen[stream], v.moved
		v.mu.Unlock()
		if seen >= revision {
			return
		}
		select {
		case <-moved:
		case <-limit:
			v.t.Fatalf("the watcher of %s stands at revision %d of %d", stream, seen, revision)
		}
	}
}

func decimal(n uint64) string { return schemas.Seq(n).String() }
