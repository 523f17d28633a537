package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// Payloads by reference: args and results over the inline limit are objects under
// <org>/<job>/<event id>, named by the event that stands on that job's subject. The object comes first and the
// event second, so an event never names what is not there; what a writer that died between the two leaves is an
// orphan, which the Collector removes.

const (
	// PayloadGrace is how old an object must be before the collector asks whether an event names it.
	PayloadGrace = time.Hour
	// PayloadFresh is how long after an upload its event may still be sent. Far below PayloadGrace: the rest is
	// for messages that a connection holds back while it is away, and for clocks.
	PayloadFresh = 15 * time.Minute
)

// IsFresh reports that the event of a payload may still be sent, given when its upload began. It asks both clocks:
// the monotonic one, which nobody sets, and that of the wall, which goes on while a machine is suspended.
func (l *Ledger) IsFresh(began time.Time) bool {
	now := time.Now()
	return now.Sub(began) < l.fresh && now.Round(0).Sub(began.Round(0)) < l.fresh
}

// What can be wrong with a payload kept by reference. None of them mends itself.
var (
	// ErrPayloadMissing: the object store does not hold the object, or not all of it.
	ErrPayloadMissing = errors.New("the payload is not in its object store")
	// ErrPayloadCorrupt: the object is not what the event says.
	ErrPayloadCorrupt = errors.New("the payload is not what its event says")
	// ErrPayloadForeign: the reference names an object that is not the job's own. No writer of ours makes one.
	ErrPayloadForeign = errors.New("the reference does not name a payload of this job")
)

// ReasonPayloadNotStored: the object store did not take the args, so no event was sent either; nothing is stored.
const ReasonPayloadNotStored = "payload_not_stored"

// inlineRoom is what the server's max_payload must leave beside inline args: where that is the small default of
// a NATS server, more travels by reference.
const inlineRoom = 64 << 10

// inlineArgs is how many bytes of args an event can hold on this connection.
func (l *Ledger) inlineArgs() int {
	if limit := int(l.nc.MaxPayload()); limit > 0 {
		return min(schemas.ArgsMax, max(limit-inlineRoom, 0))
	}
	return schemas.ArgsMax
}

func payloadName(org schemas.OrgID, id schemas.JobID, event schemas.EventID) string {
	return string(org) + "/" + string(id) + "/" + string(event)
}

// parsePayloadName undoes payloadName; false for a name of any other form.
func parsePayloadName(name string) (org schemas.OrgID, id schemas.JobID, ok bool) {
	p := strings.Split(name, "/")
	if len(p) != 3 {
		return "", "", false
	}
	for _, part := range p {
		if schemas.CheckToken("name", part) != nil {
			return "", "", false
		}
	}
	return schemas.OrgID(p[0]), schemas.JobID(p[1]), true
}

// newRef describes data as an event refers to it.
func newRef(store, name string, data []byte) *schemas.ObjectRef {
	sum := sha256.Sum256(data)
	return &schemas.ObjectRef{Bucket: store, Name: name, Bytes: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
}

// Args returns the job's args, byte for byte as submitted, wherever they are kept. The error wraps
// ErrPayloadMissing, ErrPayloadCorrupt or ErrPayloadForeign where no further try can help; else the store did not
// answer in time. A ctx without deadline is bounded by SettleTimeout.
func (l *Ledger) Args(ctx context.Context, j *Job) (json.RawMessage, error) {
	if j.Spec.ArgsRef == nil {
		return j.Spec.Args, nil
	}
	return l.payload(ctx, StoreArgs, j.Org, j.ID, j.Spec.ArgsRef)
}

// Result returns the job's result, byte for byte as its worker wrote it, wherever it is kept; nil if there is none.
// Errors are those of Args.
func (l *Ledger) Result(ctx context.Context, j *Job) (json.RawMessage, error) {
	if j.ResultRef == nil {
		return j.Result, nil
	}
	return l.payload(ctx, StoreResults, j.Org, j.ID, j.ResultRef)
}

// payload reads what an event of the job refers to, and holds it to what the event says. On a replicated store a new
// leader may not have applied yet what is there: a missing payload is believed only when it goes on missing.
func (l *Ledger) payload(ctx context.Context, store string, org schemas.OrgID, id schemas.JobID, ref *schemas.ObjectRef) ([]byte, error) {
	ctx, cancel := withPayloadTimeout(ctx, int(min(max(ref.Bytes, 0), schemas.PayloadMax)))
	defer cancel()
	begin := time.Now()
	for try := 0; ; try++ {
		data, err := l.payloadOnce(ctx, store, org, id, ref)
		if !errors.Is(err, ErrPayloadMissing) || !l.replicated(ctx) || time.Since(begin) > leaderLagMax || !pause(ctx, try) {
			return data, err
		}
	}
}

func (l *Ledger) payloadOnce(ctx context.Context, store string, org schemas.OrgID, id schemas.JobID, ref *schemas.ObjectRef) ([]byte, error) {
	r, err := l.resolve(ctx, store, org, id, ref)
	if err != nil {
		return nil, err
	}
	data, err := l.objects(store).read(ctx, r)
	if err != nil {
		return nil, payloadError(ref, err)
	}
	return data, nil
}

// resolve finds the object of a reference. The reference is believed only so far as it names an object of the
// very job on whose subject it stands: whoever forged an event gets nothing of another org, or job, by it.
func (l *Ledger) resolve(ctx context.Context, store string, org schemas.OrgID, id schemas.JobID, ref *schemas.ObjectRef) (*record, error) {
	refOrg, refJob, ok := parsePayloadName(ref.Name)
	if !ok || refOrg != org || refJob != id || ref.Bucket != store {
		return nil, fmt.Errorf("%w: %.200q in %.64q", ErrPayloadForeign, ref.Name, ref.Bucket)
	}
	r, err := l.objects(store).stat(ctx, ref.Name)
	if err == nil {
		err = r.fits(ref)
	}
	if err != nil {
		return nil, payloadError(ref, err)
	}
	return r, nil
}

// fits holds a record to the reference that an event makes to it.
func (r *record) fits(ref *schemas.ObjectRef) error {
	sum, err := hex.DecodeString(ref.SHA256)
	switch {
	case r.Deleted:
		return ErrPayloadMissing
	case err != nil || len(sum) != sha256.Size || ref.Bytes < 0 || ref.Bytes > schemas.PayloadMax:
		return fmt.Errorf("%w: it names %d bytes and digest %.80q", ErrPayloadCorrupt, ref.Bytes, ref.SHA256)
	case r.Size != uint64(ref.Bytes) || r.Digest != digestOf([sha256.Size]byte(sum)):
		return fmt.Errorf("%w: the store holds %d bytes with digest %.80q under this name", ErrPayloadCorrupt, r.Size, r.Digest)
	}
	return nil
}

func payloadError(ref *schemas.ObjectRef, err error) error {
	if errors.Is(err, errNoMessage) {
		err = ErrPayloadMissing
	}
	return fmt.Errorf("read %.200q from object store %.64q: %w", ref.Name, ref.Bucket, err)
}

// StoreResult stores a result over the inline limit for an event that is not stored yet, and returns what that
// event is to carry. It is idempotent: call it again before an append, and behind one, that comes when the upload is
// not IsFresh any more. The error wraps ErrPayloadRefused when the store will not have it, and else says that it did not answer in time.
func (l *Ledger) StoreResult(ctx context.Context, org schemas.OrgID, id schemas.JobID, event schemas.EventID, result []byte) (*schemas.ObjectRef, error) {
	if len(result) > schemas.PayloadMax {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are kept", ErrPayloadRefused, len(result), schemas.PayloadMax)
	}
	ctx, cancel := withPayloadTimeout(ctx, len(result))
	defer cancel()
	ref := newRef(StoreResults, payloadName(org, id, event), result)
	return ref, l.objects(StoreResults).put(ctx, ref.Name, result)
}

func (l *Ledger) objects(store string) objects { return objects{l: l, name: store} }
