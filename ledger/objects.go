package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

// An object store is a stream in the form that every NATS tool reads: an object's bytes are chunks on a subject
// of their own, and one record under the object's name says which subject that is, its size and digest.
//
// We write it with more care than the client library does: the record is written first, as a deleted one, so
// that what a killed writer leaves is found by its name; every message expects the last one of its subject, so
// that of two who write, or one who writes and one who removes, one wins. A record that is deleted hence means:
// the chunks it names are garbage, once nobody can still be writing them.

const (
	// chunkMax is how many bytes one chunk holds, less where the server's max_payload is small.
	chunkMax = 512 << 10
	// chunkRoom is what a message needs beside the bytes of its chunk.
	chunkRoom = 4 << 10
	// refusalsMax is how often a server may answer that it does not store a message (as on a full disk) before
	// the upload fails. The pauses between amount to about two seconds.
	refusalsMax = 8
	// foreignPatience is how long an upload of the same name by somebody else is waited for before it counts as
	// dead: a caller that repeats its request meets its own first try.
	foreignPatience = 5 * time.Second
)

// errTaken: another message stands where ours was to be put.
var errTaken = errors.New("another message was stored first")

// ErrPayloadRefused: the object store answers, and does not take the payload, as when it is full.
var ErrPayloadRefused = errors.New("the object store does not take it")

// objects is one object store.
type objects struct {
	l    *Ledger
	name string // StoreArgs or StoreResults
}

// record is what stands under an object's name.
type record struct {
	jetstream.ObjectInfo
	seq schemas.Seq // of the record in the store's stream
	at  time.Time   // when it was stored, by the stream's clock
}

func (o objects) stream() string { return "OBJ_" + o.name }

func (o objects) chunks(nuid string) string { return "$O." + o.name + ".C." + nuid }

func (o objects) records() string { return "$O." + o.name + ".M." }

func (o objects) recordOf(name string) string {
	return o.records() + base64.URLEncoding.EncodeToString([]byte(name))
}

// digestOf is a digest as a record holds it.
func digestOf(sum [sha256.Size]byte) string {
	return "SHA-256=" + base64.URLEncoding.EncodeToString(sum[:])
}

// stat reads the record of a name as the stream's leader knows it; errNoMessage if there is none, also not a
// deleted one.
func (o objects) stat(ctx context.Context, name string) (*record, error) {
	var m *storedMessage
	err := o.l.reading(ctx, func(ctx context.Context) (err error) {
		m, err = o.l.leaderMessage(ctx, o.stream(), getRequest{LastFor: o.recordOf(name)})
		return err
	})
	if err != nil {
		return nil, err
	}
	return newRecord(m.Data, m.Seq, m.Time)
}

// now is the time by the clock that stamps records.
func (o objects) now(ctx context.Context) (time.Time, error) {
	s, err := o.l.stream(ctx, o.stream())
	if err != nil {
		return time.Time{}, err
	}
	return s.CachedInfo().TimeStamp.UTC(), nil
}

func newRecord(body []byte, seq schemas.Seq, at time.Time) (*record, error) {
	r := &record{seq: seq, at: at.UTC()}
	if err := json.Unmarshal(body, &r.ObjectInfo); err != nil {
		return nil, fmt.Errorf("the record at %d is none of an object: %w", seq, err)
	}
	return r, nil
}

// recordsMax and recordsBytes bound one page of records.
const (
	recordsMax   = 256
	recordsBytes = 1 << 20
)

// page returns the records at or behind a sequence, in the order in which they were stored, and where the next
// page begins; 0 if there is none. A replica may answer that does not know the newest.
func (o objects) page(ctx context.Context, from schemas.Seq) (page []*record, next schemas.Seq, err error) {
	var entries []*Entry
	var more bool
	err = o.l.asking(ctx, func(ctx context.Context) (err error) {
		entries, more, err = o.l.directBatchOf(ctx, o.stream(),
			getRequest{Seq: max(from, 1), NextFor: o.records() + ">", Batch: recordsMax, MaxBytes: recordsBytes})
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list object store %s: %w", o.name, err)
	}
	for _, e := range entries {
		if more {
			next = e.Seq + 1
		}
		if r, err := newRecord(e.Body, e.Seq, e.Time); err == nil { // else nobody's object, and nothing of ours
			page = append(page, r)
		}
	}
	return page, next, nil
}

// read returns an object's bytes, after their digest was compared with the record's. errNoMessage if a chunk is missing.
func (o objects) read(ctx context.Context, r *record) ([]byte, error) {
	data := make([]byte, 0, r.Size)
	next := schemas.Seq(1)
	for range r.Chunks {
		chunk, err := o.chunk(ctx, r.NUID, next)
		if err != nil {
			return nil, err
		}
		if uint64(len(data)+len(chunk.Data)) > r.Size {
			return nil, fmt.Errorf("%w: its chunks hold more than the %d bytes of its record", ErrPayloadCorrupt, r.Size)
		}
		data, next = append(data, chunk.Data...), chunk.Seq+1
	}
	if digest := digestOf(sha256.Sum256(data)); uint64(len(data)) != r.Size || digest != r.Digest {
		return nil, fmt.Errorf("%w: %d bytes with digest %s, its record says %d and %s", ErrPayloadCorrupt, len(data), digest, r.Size, r.Digest)
	}
	return data, nil
}

// chunk reads the first chunk at or behind a sequence. A replica that does not have it is not believed.
func (o objects) chunk(ctx context.Context, nuid string, from schemas.Seq) (m *storedMessage, err error) {
	req := getRequest{Seq: from, NextFor: o.chunks(nuid)}
	err = o.l.reading(ctx, func(ctx context.Context) error {
		if m, err = o.l.directMessage(ctx, o.stream(), req); m != nil && err == nil {
			return nil
		}
		m, err = o.l.leaderMessage(ctx, o.stream(), req)
		return err
	})
	return m, err
}

// directMessage makes a single direct get; nil without error if the replica that answers has no such message.
func (l *Ledger) directMessage(ctx context.Context, stream string, req getRequest) (*storedMessage, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	m, err := l.nc.RequestWithContext(ctx, subjectDirectGetOf+stream, body)
	if err != nil {
		return nil, err
	}
	e, _, err := directEntry(m)
	if err != nil || e == nil {
		return nil, err
	}
	return &storedMessage{Subject: e.RawSubject, Seq: e.Seq, Data: e.Body, Time: e.Time}, nil
}

// write stores a message behind the one with sequence expect, the last one on its subject, and returns its
// sequence. Like Append it takes no lost reply for a refusal; ours is known by its bytes, for a chunk's subject
// and a record's chunks are one writer's own. errTaken: another message is there. ErrPayloadRefused: the server
// will not have it. Any other error says that time is up, and nothing is known.
func (o objects) write(ctx context.Context, m *nats.Msg, expect schemas.Seq) (schemas.Seq, error) {
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	m.Header[schemas.HeaderExpect] = []string{expect.String()}
	refusals := 0
	for try := 0; ; try++ {
		wait, cancel := context.WithTimeout(ctx, replyTimeout(try))
		reply, err := o.l.publish(wait, m)
		cancel()
		var ack *pubAck
		if err == nil {
			ack, err = decodeAckOf(o.stream(), reply.Data)
		}
		switch {
		case errors.Is(err, nats.ErrMaxPayload):
			return 0, fmt.Errorf("%w: %w", ErrPayloadRefused, err)
		case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
			return 0, err
		case err != nil: // nobody answered: it may be stored
		case ack.Code == 0:
			return ack.Seq, nil
		case ack.Code == codeWrongLastSequence, ack.Code == codeWrongLastSequenceInFlight:
			seq, settled, lookErr := o.look(ctx, m, expect, ack.Code == codeWrongLastSequenceInFlight)
			if settled {
				return seq, lookErr
			}
			err = lookErr
		default:
			if err = ack; ack.Code != codeTooManyRequests {
				refusals++
			}
		}
		if refusals >= refusalsMax {
			return 0, fmt.Errorf("%w: %w", ErrPayloadRefused, err)
		}
		if !pause(ctx, try) {
			return 0, errors.Join(ctx.Err(), err)
		}
	}
}

// look tells whether the first message behind the expected one is m. inFlight: a write on the subject is under way.
func (o objects) look(ctx context.Context, m *nats.Msg, expect schemas.Seq, inFlight bool) (seq schemas.Seq, settled bool, err error) {
	first, err := o.l.leaderMessage(ctx, o.stream(), getRequest{Seq: expect + 1, NextFor: m.Subject})
	switch {
	case err == nil && bytes.Equal(first.Data, m.Data):
		return first.Seq, true, nil
	case err == nil:
		return 0, true, errTaken
	case !errors.Is(err, errNoMessage) || expect == 0 || inFlight:
		return 0, false, err
	}
	last, err := o.l.leaderMessage(ctx, o.stream(), getRequest{LastFor: m.Subject})
	if errors.Is(err, errNoMessage) || err == nil && last.Seq != expect {
		return 0, true, errTaken // the expected message was removed
	}
	return 0, false, err
}

// remove deletes the object that r is the record of, unless its name was written since.
//
// The deleted record comes first: from there no writer can complete it, and whoever finds it removes the rest.
// If this process dies on the way, that is the collector, once the record is old.
func (o objects) remove(ctx context.Context, r *record) error {
	gone := r.ObjectInfo
	gone.Deleted, gone.Size, gone.Chunks, gone.Digest, gone.ModTime = true, 0, 0, "", time.Time{}
	body, err := json.Marshal(&gone)
	if err != nil {
		return err
	}
	seq, err := o.write(ctx, o.rollup(r.Name, body), r.seq)
	if errors.Is(err, errTaken) {
		return nil
	}
	if err == nil {
		err = o.purge(ctx, o.chunks(r.NUID), 0)
	}
	if err == nil {
		err = o.purge(ctx, o.recordOf(r.Name), seq+1)
	}
	if err != nil {
		return fmt.Errorf("remove %s from object store %s: %w", r.Name, o.name, err)
	}
	return nil
}

// rollup is a record that takes the place of the one before.
func (o objects) rollup(name string, body []byte) *nats.Msg {
	return &nats.Msg{Subject: o.recordOf(name), Data: body,
		Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}}
}

// purge removes the messages of a subject below a sequence; all of them if it is 0.
func (o objects) purge(ctx context.Context, subject string, below schemas.Seq) error {
	opts := []jetstream.StreamPurgeOpt{jetstream.WithPurgeSubject(subject)}
	if below > 0 {
		opts = append(opts, jetstream.WithPurgeSequence(uint64(below)))
	}
	return o.l.asking(ctx, func(ctx context.Context) error {
		s, err := o.l.js.Stream(ctx, o.stream())
		if err == nil {
			err = s.Purge(ctx, opts...)
		}
		return err
	})
}
