package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

// Staged args come in parts from a caller who may not write to the object store, before the submit that names
// them. They stand under <org>/_upload/<id>, as an upload that is not complete: no job can have that id, so the
// collector removes what no submit has fetched.

// stagedJob is the place of staged args among an org's objects; a caller's job id may not begin so.
const stagedJob = schemas.JobID(schemas.ReservedPrefix + "upload")

// Staged names args that were staged in parts.
type Staged struct {
	Org    schemas.OrgID
	ID     uuid.UUID // drawn by the caller, for this upload alone
	Bytes  int64
	SHA256 string // in hex
}

func (s *Staged) name() string {
	return payloadName(s.Org, stagedJob, schemas.EventID(s.ID.String()))
}

// chunksID holds the org, so that no caller can write among, or read, another org's. The id has one length only.
func (s *Staged) chunksID() string { return s.ID.String() + "-" + string(s.Org) }

// Stage stores one part behind the part with sequence after (0: it is the first), and returns its sequence. It is
// idempotent: the same part behind the same one is stored once. Nothing is kept here between two parts.
func (l *Ledger) Stage(ctx context.Context, s *Staged, after schemas.Seq, part []byte) (schemas.Seq, error) {
	ctx, cancel := withPayloadTimeout(ctx, len(part))
	defer cancel()
	o := l.objects(StoreArgs)
	if after == 0 {
		if shut := l.spaceShut(ctx); shut != nil {
			return 0, shut
		}
		if err := o.open(ctx, s); err != nil {
			return 0, stagedError(err)
		}
	}
	seq, err := o.write(ctx, &nats.Msg{Subject: o.chunks(s.chunksID()), Data: part}, after)
	return seq, stagedError(err)
}

// open writes the record that names the chunks to come, if it is not there.
func (o objects) open(ctx context.Context, s *Staged) error {
	body, err := json.Marshal(&jetstream.ObjectInfo{Bucket: o.name, NUID: s.chunksID(), Deleted: true,
		ObjectMeta: jetstream.ObjectMeta{Name: s.name()}})
	if err != nil {
		return err
	}
	_, err = o.write(ctx, o.rollup(s.name(), body), 0)
	if errors.Is(err, errTaken) {
		return nil // by this caller's first try: the id is drawn for this upload alone
	}
	return err
}

// StagedArgs reads staged args and holds them to what the caller says of them.
func (l *Ledger) StagedArgs(ctx context.Context, s *Staged) (json.RawMessage, error) {
	sum, err := hex.DecodeString(s.SHA256)
	switch {
	case err != nil || len(sum) != sha256.Size:
		return nil, badField("args_sha256", errors.New("it is no SHA-256 in hex"))
	case s.Bytes < 1:
		return nil, badField("args_bytes", errors.New("it must be above 0"))
	case s.Bytes > schemas.PayloadMax:
		return nil, tooLarge(s.Bytes)
	}
	ctx, cancel := withPayloadTimeout(ctx, int(s.Bytes))
	defer cancel()
	o := l.objects(StoreArgs)
	data := make([]byte, 0, s.Bytes)
	for next := schemas.Seq(1); int64(len(data)) < s.Bytes; {
		chunk, err := o.chunk(ctx, s.chunksID(), next)
		if errors.Is(err, errNoMessage) {
			return nil, badField("args_upload", fmt.Errorf("%w: %d of %d bytes are staged", ErrPayloadMissing, len(data), s.Bytes))
		}
		if err != nil {
			return nil, err
		}
		data, next = append(data, chunk.Data...), chunk.Seq+1
	}
	if int64(len(data)) != s.Bytes || sha256.Sum256(data) != [sha256.Size]byte(sum) {
		return nil, badField("args_upload", fmt.Errorf("%w: other bytes are staged", ErrPayloadCorrupt))
	}
	return data, nil
}

// Unstage removes staged args. What it does not remove, the collector does.
func (l *Ledger) Unstage(ctx context.Context, s *Staged) error {
	ctx, cancel := context.WithTimeout(ctx, tidyTimeout)
	defer cancel()
	o := l.objects(StoreArgs)
	there, err := o.stat(ctx, s.name())
	if errors.Is(err, errNoMessage) {
		return nil
	}
	if err != nil {
		return err
	}
	return o.remove(ctx, there)
}

func stagedError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTaken):
		return badField("after", errors.New("another part stands behind that one"))
	}
	return Errorf(CodeUnavailable, "the part could not be stored: %v", err).with(DetailReason, ReasonPayloadNotStored)
}

// PayloadPage returns a stretch of the job's args (StoreArgs) or result (StoreResults) that is kept by reference:
// the first chunk at or behind a sequence of the store, and where to read on. 0: there is no more.
func (l *Ledger) PayloadPage(ctx context.Context, store string, j *Job, from schemas.Seq) (data []byte, next schemas.Seq, err error) {
	ref := j.Spec.ArgsRef
	if store == StoreResults {
		ref = j.ResultRef
	}
	if ref == nil {
		return nil, 0, ErrPayloadMissing
	}
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	r, err := l.resolve(ctx, store, j.Org, j.ID, ref)
	if err != nil {
		return nil, 0, err
	}
	m, err := l.objects(store).chunk(ctx, r.NUID, max(from, 1))
	switch {
	case errors.Is(err, errNoMessage) && from > 0:
		return nil, 0, nil
	case err != nil:
		return nil, 0, payloadError(ref, err)
	}
	return m.Data, m.Seq + 1, nil
}
