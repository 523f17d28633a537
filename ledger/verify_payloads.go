package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

// namedAt is a payload that an event names.
type namedAt struct {
	ref schemas.ObjectRef
	seq schemas.Seq
	org schemas.OrgID
	job schemas.JobID
}

// payloadRefs are the payloads that the ledger's events name, by store and name. Only a full check gathers them:
// about 300 B each.
type payloadRefs map[string]map[string]namedAt

// notePayloads gathers what an event names. What it may not name is a problem by itself.
func (v *verifier) notePayloads(e *Entry) {
	for _, ref := range refsOf(e.Data) {
		org, id, ok := parsePayloadName(ref.Name)
		known := ref.Bucket == StoreArgs || ref.Bucket == StoreResults
		if !ok || !known || org != e.Org || id != e.Job {
			v.problem(ProblemPayload, e.Seq, e.Org, e.Job, "%s names %.200q in %.64q, which is no payload of this job", e.Name(), ref.Name, ref.Bucket)
			continue
		}
		if v.payloads[ref.Bucket] == nil {
			v.payloads[ref.Bucket] = make(map[string]namedAt)
		}
		v.payloads[ref.Bucket][ref.Name] = namedAt{ref: *ref, seq: e.Seq, org: e.Org, job: e.Job}
	}
}

// checkPayloads holds the object stores to what the events name: each payload is there, whole, of the size and
// digest that its event says. It compares digests as they were recorded; the bytes themselves are not read, for
// the server checks them whenever it does. What no event names is counted, and is no problem: the collector removes
// it in time, and what is being uploaded at this moment is not named yet.
func (v *verifier) checkPayloads(ctx context.Context) error {
	if !v.cfg.Full {
		return nil
	}
	v.verdict.Orphans = new(int)
	for _, store := range []string{StoreArgs, StoreResults} {
		if err := v.checkStore(ctx, v.l.objects(store), v.payloads[store]); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) checkStore(ctx context.Context, o objects, named map[string]namedAt) error {
	chunks, err := o.chunkCounts(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		chunks, err = nil, nil
	}
	if err != nil {
		return err
	}
	for from := schemas.Seq(1); from > 0 && chunks != nil; {
		page, next, err := o.page(ctx, from)
		if err != nil {
			return err
		}
		from = next
		for _, r := range page {
			at, ok := named[r.Name]
			if org, _, ours := parsePayloadName(r.Name); !ours || v.cfg.Org != "" && org != v.cfg.Org {
				continue
			} else if !ok {
				*v.verdict.Orphans++
				continue
			}
			if at.ref.Bucket == o.name && r.fits(&at.ref) == nil && chunks[o.chunks(r.NUID)] == uint64(r.Chunks) {
				delete(named, r.Name)
			}
		}
	}
	for _, at := range named { // also what a replica did not know yet
		if err := v.checkPayload(ctx, o, at); err != nil {
			return err
		}
	}
	return nil
}

// checkPayload reads what seemed wrong once more, from the stream's leader and with its bytes.
func (v *verifier) checkPayload(ctx context.Context, o objects, at namedAt) error {
	_, err := v.l.payload(ctx, o.name, at.org, at.job, &at.ref)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrPayloadMissing), errors.Is(err, ErrPayloadCorrupt), errors.Is(err, jetstream.ErrStreamNotFound):
		v.problem(ProblemPayload, at.seq, at.org, at.job, "%v", err)
		return nil
	}
	return err
}

// chunkCounts tells how many chunks stand on each subject of the store.
func (o objects) chunkCounts(ctx context.Context) (counts map[string]uint64, err error) {
	err = o.l.asking(ctx, func(ctx context.Context) error {
		s, err := o.l.js.Stream(ctx, o.stream())
		if err != nil {
			return err
		}
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(o.chunks(">")))
		if err != nil {
			return err
		}
		if counts = info.State.Subjects; counts == nil {
			counts = map[string]uint64{}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("chunks of object store %s: %w", o.name, err)
	}
	return counts, nil
}
