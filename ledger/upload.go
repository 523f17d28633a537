package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

// put stores data under a name, whole or not at all: until the last message the name shows as deleted. It is
// idempotent: what is there already with the same content, and is not so old that the collector might be about
// to remove it, is left as it is. The error wraps ErrPayloadRefused when the server will not have it; after any
// other nothing is known.
//
// If this process dies in here, a deleted record is left that names the chunks written so far; the collector
// removes both once the record is older than its grace.
func (o objects) put(ctx context.Context, name string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, PayloadFresh)
	defer cancel()
	u := &upload{objects: o, name: name, data: data, digest: digestOf(sha256.Sum256(data)), nuid: uuid.NewString()}
	if err := u.run(ctx); err != nil {
		return fmt.Errorf("store %s in object store %s: %w", name, o.name, err)
	}
	return nil
}

// upload is one object on its way.
type upload struct {
	objects
	name   string
	data   []byte
	digest string
	nuid   string // names the subject of its chunks

	foreign time.Time // when somebody else's upload of the name was first met
}

func (u *upload) run(ctx context.Context) error {
	for try := 0; ; try++ {
		err := u.once(ctx)
		if !errors.Is(err, errTaken) {
			return err
		}
		if done, err := u.meet(ctx); done || err != nil {
			return err
		}
		if !pause(ctx, try) {
			return ctx.Err()
		}
	}
}

// meet looks at what stands under the name already, and reports that it is the content to be stored. What is in
// the way is waited for or removed.
func (u *upload) meet(ctx context.Context) (done bool, err error) {
	there, err := u.stat(ctx, u.name)
	if errors.Is(err, errNoMessage) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	now, err := u.now(ctx)
	if err != nil {
		return false, err
	}
	switch fresh := now.Sub(there.at) < PayloadFresh; {
	case u.complete(there) && fresh:
		return true, nil // this upload in an earlier life, or a repetition of the request
	case u.complete(there):
		// Written again it is young again, and the collector, which removes only the record that it has judged,
		// lets it be.
		err := u.writeRecord(ctx, there, there.seq)
		if errors.Is(err, errTaken) {
			return false, nil
		}
		return err == nil, err
	case !there.Deleted:
		return false, fmt.Errorf("%w: the name is taken by other content", ErrPayloadRefused)
	case fresh && u.patient():
		return false, nil
	}
	return false, u.remove(ctx, there) // its writer is dead, or will find that it was too slow
}

// patient gives somebody else's upload of the same name its time, so that two repetitions of a request do not
// for ever undo each other's work.
func (u *upload) patient() bool {
	if u.foreign.IsZero() {
		u.foreign = time.Now()
	}
	return time.Since(u.foreign) < foreignPatience
}

// complete reports that a record is of the very content of this upload.
func (u *upload) complete(r *record) bool {
	return !r.Deleted && r.Size == uint64(len(u.data)) && r.Digest == u.digest
}

func (u *upload) chunkSize() int {
	if limit := int(u.l.nc.MaxPayload()); limit > 0 {
		return max(min(chunkMax, limit-chunkRoom), 1)
	}
	return chunkMax
}

// once writes the record that names the chunks to come, the chunks, and the record that completes the object.
// errTaken: somebody else has the name.
func (u *upload) once(ctx context.Context) error {
	r := &record{ObjectInfo: jetstream.ObjectInfo{Bucket: u.objects.name, NUID: u.nuid, Deleted: true,
		ObjectMeta: jetstream.ObjectMeta{Name: u.name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: uint32(u.chunkSize())}}}}
	if err := u.writeRecord(ctx, r, 0); err != nil {
		return err
	}
	err := u.writeChunks(ctx, r)
	if err == nil {
		r.Deleted, r.Size, r.Digest = false, uint64(len(u.data)), u.digest
		err = u.writeRecord(ctx, r, r.seq)
	}
	if err != nil {
		u.tidy(ctx)
	}
	return err
}

func (u *upload) writeChunks(ctx context.Context, r *record) error {
	var last schemas.Seq
	for rest := u.data; len(rest) > 0; r.Chunks++ {
		n := min(len(rest), u.chunkSize())
		seq, err := u.write(ctx, &nats.Msg{Subject: u.chunks(u.nuid), Data: rest[:n]}, last)
		if err != nil {
			return err
		}
		last, rest = seq, rest[n:]
	}
	return nil
}

func (u *upload) writeRecord(ctx context.Context, r *record, expect schemas.Seq) error {
	body, err := json.Marshal(&r.ObjectInfo)
	if err != nil {
		return err
	}
	r.seq, err = u.write(ctx, u.rollup(u.name, body), expect)
	return err
}

// tidyTimeout bounds the removal of what a failed upload has written.
const tidyTimeout = 2 * time.Second

// tidy removes what a failed upload has written, so that a full store is not fuller for it. What it cannot remove
// the collector does. Another try writes under another subject.
func (u *upload) tidy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	there, err := u.stat(ctx, u.name)
	switch {
	case err == nil && there.NUID == u.nuid && there.Deleted:
		err = u.remove(ctx, there)
	case err == nil && there.NUID != u.nuid, errors.Is(err, errNoMessage): // nothing names our chunks any more
		err = u.purge(ctx, u.chunks(u.nuid), 0)
	}
	if err != nil {
		u.l.log.Debug("what a failed upload left stays for the collector", zap.String("object", u.name), zap.Error(err))
	}
	u.nuid = uuid.NewString()
}
