package projector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/internal/groups"
	"github.com/dartwing/jobledger/internal/replies"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	putsPending = 256              // puts under way at once
	putTimeout  = 2 * time.Second  // a put without an answer for so long, as in a restart, is unknown: read, then write again
	readers     = 32               // documents read at once, where a revision is not known
	putTries    = 4                // reads and puts of one document within one flush; then the next flush goes on
	drainWait   = 10 * time.Second // a flush that takes longer is given up as a whole
	batchWait   = 4 * time.Second  // a batch without an answer for so long is unknown; the flush has time left to read
)

// JetStream's error codes that a put may meet; 10164 and 10071 both mean: look (ENGINE 1).
const (
	codeWrongLast       = 10071
	codeWrongLastBusy   = 10164
	codeNoMessage       = 10037
	codeStreamNotFound  = 10059
	subjectMessageGet   = "$JS.API.STREAM.MSG.GET.KV_"
	headerTTL           = "Nats-TTL"     // in seconds
	headerKVOperation   = "KV-Operation" // on a marker that a document was deleted
	subjectDeleted      = "$JS.EVENT.ADVISORY.STREAM.DELETED."
	streamPrefix        = "KV_"
	subjectPrefix       = "$KV."
	errTextViewUnusable = "bucket is gone or incomplete"
)

// lostError: a bucket was deleted or purged beneath us. Its view is folded from zero.
type lostError struct{ bucket string }

func (e *lostError) Error() string { return e.bucket + ": " + errTextViewUnusable }

// writer puts documents. It owns no goroutine between calls.
type writer struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	replies *replies.Mux
	groups  func(context.Context) bool // the server syncs each write: batches pay
	// commit is groups.Commit; tests replace it.
	commit func(ctx context.Context, msgs []*nats.Msg, wait time.Duration) (first uint64, err error)
}

func newWriter(nc *nats.Conn, grouped func(context.Context) bool) (*writer, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	w := &writer{nc: nc, js: js, replies: replies.New(nc), groups: grouped}
	w.commit = func(ctx context.Context, msgs []*nats.Msg, wait time.Duration) (uint64, error) {
		return groups.Commit(ctx, w.replies, nc, msgs, wait)
	}
	return w, nil
}

// errSkipped: the document waits for the next flush, because one that it counts is in doubt.
var errSkipped = errors.New("skipped")

// flush writes b: the documents, then the counters that count them, then how far all that reaches. The
// outcome of each is in the put. The error is a lostError, or that of ctx.
func (w *writer) flush(ctx context.Context, b *batch) error {
	ctx, cancel := context.WithTimeout(ctx, drainWait)
	defer cancel()
	if err := w.write(ctx, b.docs); err != nil {
		return err
	}
	stored, doubted := true, false
	for _, p := range b.docs {
		stored, doubted = stored && p.err == nil, doubted || p.doubted()
	}
	if doubted { // a job was counted as new and is not
		for _, p := range b.counts {
			p.err = errSkipped
		}
		stored = false
	} else if err := w.write(ctx, b.counts); err != nil {
		return err
	}
	for _, p := range b.counts {
		stored = stored && p.err == nil
	}
	if b.all == nil {
		return nil
	}
	if !stored {
		b.all.err = errSkipped // it may not cover what is not stored
		return nil
	}
	if b.all.err = b.seal(); b.all.err != nil {
		return b.all.err
	}
	return w.write(ctx, []*put{b.all})
}

// write stores the puts whose revision is known, then reads and writes the others.
func (w *writer) write(ctx context.Context, puts []*put) error {
	if len(puts) < groups.Worth || !w.groups(ctx) {
		w.pipeline(ctx, puts)
	} else {
		w.together(ctx, puts)
	}
	return w.settle(ctx, puts)
}

// together writes in batches, each of one bucket and under one sync of the server.
func (w *writer) together(ctx context.Context, puts []*put) {
	var batch []*put
	var msgs []*nats.Msg
	size := 0
	for _, p := range puts {
		if p.err = errRead; !p.slot.known {
			continue
		}
		m := p.guarded(p.slot.rev)
		if len(batch) > 0 && (len(batch) == groups.Max || size+m.Size() > groups.MaxBytes || p.bucket != batch[0].bucket) {
			w.store(ctx, batch, msgs)
			batch, msgs, size = nil, nil, 0
		}
		batch, msgs, size = append(batch, p), append(msgs, m), size+m.Size()
	}
	w.store(ctx, batch, msgs)
}

// store writes a batch: one by one if it is of few, or refused as another leader has written one of the documents, or the bucket
// is one that takes no batches.
func (w *writer) store(ctx context.Context, batch []*put, msgs []*nats.Msg) {
	if len(batch) < groups.Worth {
		w.pipeline(ctx, batch)
		return
	}
	first, err := w.commit(ctx, msgs, batchWait)
	var refused *groups.RefusedError
	if errors.As(err, &refused) {
		w.pipeline(ctx, batch)
		return
	}
	for i, p := range batch {
		if p.err = err; err == nil {
			p.rev = first + uint64(i)
		}
	}
}

// pipeline sends the puts whose revision is known one after the other, and hears what became of them.
func (w *writer) pipeline(ctx context.Context, puts []*put) {
	under := make([]underway, len(puts))
	waited := 0
	for i, p := range puts {
		if i-waited == putsPending {
			under[waited].wait(ctx, puts[waited])
			waited++
		}
		if p.err = errRead; p.slot.known {
			under[i].until = time.Now().Add(putTimeout)
			under[i].Pending, p.err = w.replies.Start(p.guarded(p.slot.rev))
		}
	}
	for ; waited < len(puts); waited++ {
		under[waited].wait(ctx, puts[waited])
	}
}

// underway is a put that was sent, or none.
type underway struct {
	*replies.Pending
	until time.Time
}

// wait takes what became of p, if it is under way.
func (u *underway) wait(ctx context.Context, p *put) {
	if u.Pending == nil {
		return
	}
	answer, err := u.Wait(ctx, max(time.Until(u.until), 0))
	if p.err = err; err == nil {
		p.rev, p.err = revisionOf(p.bucket, answer.Data)
	}
}

// revisionOf reads the answer to a put. The error is a *jetstream.APIError where the server said no.
func revisionOf(bucket string, answer []byte) (uint64, error) {
	if rev, ok := ledger.PlainAck(streamPrefix+bucket, answer); ok {
		return rev, nil
	}
	var ack struct {
		Seq   uint64              `json:"seq"`
		Error *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(answer, &ack); {
	case err != nil:
		return 0, fmt.Errorf("answer to a put: %w", err)
	case ack.Error != nil:
		return 0, ack.Error
	case ack.Seq == 0:
		return 0, errors.New("the answer to a put names no revision")
	}
	return ack.Seq, nil
}

// errRead: the document's revision is not known, it must be read first.
var errRead = errors.New("revision is not known")

// settle reads and writes, a few at a time, the documents that the pipeline did not store.
func (w *writer) settle(ctx context.Context, puts []*put) error {
	work := make(chan *put)
	errs := make(chan error, readers)
	var wg sync.WaitGroup
	start := sync.OnceFunc(func() {
		for range readers {
			wg.Go(func() {
				var lost error
				for p := range work {
					if lost == nil {
						lost = w.settleOne(ctx, p)
					}
				}
				errs <- lost
			})
		}
	})
	for _, p := range puts {
		if p.err != nil {
			start()
			work <- p
		}
	}
	close(work)
	wg.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

// settleOne decides by what stands in the bucket: the document with the higher sequence stays (DESIGN D9).
// The error is a lostError; anything else is in p.err, and the next flush tries again.
func (w *writer) settleOne(ctx context.Context, p *put) error {
	trusted := p.slot.known && p.slot.rev > 0 && code(p.err) != 0 && !p.slot.mortal
	for range putTries {
		there, err := w.read(ctx, p)
		switch {
		case lost(err):
			return &lostError{p.bucket}
		case err != nil:
			p.err = err
			return ctx.Err()
		case there == nil && trusted:
			// What we wrote is not there: the bucket was purged, or is another one of the same name.
			return &lostError{p.bucket}
		}
		p.rev = 0
		if there != nil {
			p.rev, p.found = there.rev, there.found
			stays, err := w.stands(ctx, p, there)
			var gone *lostError
			switch {
			case errors.As(err, &gone):
				return gone
			case err != nil:
				p.err = err
				return ctx.Err()
			case stays:
				p.kept, p.err = true, nil
				return nil
			}
		}
		// Without an answer in time it is unknown: what stands there is read again.
		once, cancel := context.WithTimeout(ctx, putTimeout)
		ack, err := w.js.PublishMsg(once, p.message(), jetstream.WithExpectLastSequencePerSubject(p.rev))
		cancel()
		if err == nil {
			p.rev, p.err = ack.Sequence, nil
			return nil
		}
		p.err = err
	}
	return ctx.Err()
}

// stands reports whether what is there is not to be replaced by p. The error is a lostError if the bucket is another
// one by now than p speaks of.
func (w *writer) stands(ctx context.Context, p *put, there *stored) (bool, error) {
	if !p.foreign(there) {
		return p.stays(there), nil
	}
	s, err := w.stream(ctx, p.bucket)
	if lost(err) || err == nil && !s.CachedInfo().Created.Equal(p.life) {
		return false, &lostError{p.bucket}
	}
	return false, err
}

// foreign reports that what stands there speaks of an earlier bucket of the name, or of a later one: of the two
// leaders one does not know that COUNTS was created anew. How far its counters are complete nothing there says.
func (p *put) foreign(there *stored) bool {
	return there.found != nil && !p.life.IsZero() && !there.found.CountsBucket.IsZero() && !there.found.CountsBucket.Equal(p.life)
}

// stays reports whether what is there is not to be replaced by p.
func (p *put) stays(there *stored) bool {
	if there.found == nil { // deleted by hand, or no document of ours
		return false
	}
	if p.doubted() {
		return true // our fold is wrong, not the document
	}
	return there.found.Seq > p.seq || there.found.Seq == p.seq && !(p.anew && !bytes.Equal(there.body, p.body))
}

// stored is a document as it stands in a bucket; found is nil where it was deleted or is none of ours.
type stored struct {
	rev   uint64
	body  []byte
	found *found
}

// stream asks for a bucket's stream. A request that met a leader change is never answered, whatever time its
// caller has: it gives up soon, and the caller asks again.
func (w *writer) stream(ctx context.Context, bucket string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	return w.js.Stream(ctx, streamPrefix+bucket)
}

// read asks the bucket's leader for the document of p; nil if there is none.
func (w *writer) read(ctx context.Context, p *put) (*stored, error) {
	m, err := w.ask(ctx, subjectMessageGet+p.bucket, map[string]any{"last_by_subj": p.subject()})
	if err != nil {
		return nil, fmt.Errorf("read %s/%s: %w", p.bucket, p.key, err)
	}
	if m == nil {
		return nil, nil
	}
	s := &stored{rev: m.Seq, body: m.Data}
	if bytes.Contains(m.Header, []byte(headerKVOperation)) {
		return s, nil
	}
	var f found
	if json.Unmarshal(m.Data, &f) == nil && f.Seq > 0 {
		s.found = &f
	}
	return s, nil
}

// message is a stored message in JetStream's own form.
type message struct {
	Seq    uint64 `json:"seq"`
	Header []byte `json:"hdrs"`
	Data   []byte `json:"data"`
}

// ask makes one request for a message; nil if there is none.
func (w *writer) ask(ctx context.Context, subject string, request map[string]any) (*message, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	m, err := w.nc.RequestWithContext(ctx, subject, body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Message *message            `json:"message"`
		Error   *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, err
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == codeNoMessage:
		return nil, nil
	case answer.Error != nil:
		return nil, answer.Error
	case answer.Message == nil:
		return nil, errors.New("the answer holds no message")
	}
	return answer.Message, nil
}

func (p *put) subject() string { return subjectPrefix + p.bucket + "." + p.key }

func (p *put) message() *nats.Msg {
	m := &nats.Msg{Subject: p.subject(), Data: p.body}
	if p.ttl != 0 { // whole seconds, at least one: what the server takes
		seconds := (max(p.ttl, 0) + time.Second - 1) / time.Second
		m.Header = nats.Header{headerTTL: {strconv.FormatInt(max(int64(seconds), 1), 10)}}
	}
	return m
}

// guarded is message with the revision that must stand there, 0 for none.
func (p *put) guarded(rev uint64) *nats.Msg {
	m := p.message()
	if m.Header == nil {
		m.Header = make(nats.Header, 1)
	}
	m.Header[schemas.HeaderExpect] = []string{strconv.FormatUint(rev, 10)}
	return m
}

// code is JetStream's number of err, 0 if it has none.
func code(err error) jetstream.ErrorCode {
	var e jetstream.JetStreamError
	if errors.As(err, &e) && e.APIError() != nil {
		return e.APIError().ErrorCode
	}
	return 0
}

// lost reports that a stream does not exist.
func lost(err error) bool {
	return code(err) == codeStreamNotFound
}
