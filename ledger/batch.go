package ledger

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// A batch is an ordinary job of a reserved type in a reserved queue, which each server's own worker serves: its
// handler submits the items at the batch's pace and follows them to their ends. So there is no second way to change a
// state: restart, fail-over, progress, cancel and retry of a batch are those of every job.
const (
	// BatchType is the type of the jobs that are batches. It is registered by the first of them.
	BatchType = schemas.TypeName(schemas.ReservedPrefix + "batch")
	// SystemQueue is the queue of what servers do themselves.
	SystemQueue = schemas.QueueName(schemas.ReservedPrefix + "system")

	// BatchItemsMax is how many items a batch may have.
	BatchItemsMax = 10_000
	// BatchTypesMax is how many types the items of one batch may have.
	BatchTypesMax = 100
	// BatchParallelDefault is how many items of a batch are unfinished at once where it does not say.
	BatchParallelDefault = schemas.OrgRunningDefault
)

// Settings of what servers do themselves. An attempt may take a day, and a job as many attempts as there are; losing a server
// is no sign that a batch kills servers.
const (
	systemTimeout = schemas.TimeoutMax
	systemGrace   = time.Minute // of a batch, to cancel its items
	systemBackoff = time.Second
	systemCap     = time.Minute
)

// BatchItem is one job of a batch. What it leaves out is as the batch's Each says, then as the type's settings do.
type BatchItem struct {
	Type      schemas.TypeName  `json:"type,omitempty"`
	Queue     schemas.QueueName `json:"queue,omitempty"`
	Priority  schemas.Priority  `json:"priority,omitempty"`
	Resource  string            `json:"resource,omitempty"`
	Principal string            `json:"principal,omitempty"` // whom it runs as; empty: as the batch
	Tags      map[string]string `json:"tags,omitempty"`
	Override  *schemas.Override `json:"override,omitempty"`
	Args      json.RawMessage   `json:"args,omitempty"` // byte for byte; use BatchSpec.Encode
}

// BatchSpec is what a batch is to do: the args of its job.
type BatchSpec struct {
	// Each is what all items have in common.
	Each BatchItem `json:"each,omitzero"`
	// Pace is how many items are submitted in any window of time; nil: as fast as they are taken.
	Pace *schemas.Rate `json:"pace,omitempty"`
	// Parallel is how many items are unfinished at once, at most; 0: BatchParallelDefault.
	Parallel int         `json:"parallel,omitempty"`
	Items    []BatchItem `json:"items"`
	// Then is a job that is submitted once, with the batch, and runs when the batch has ended, whichever way: it is given
	// the batch's result as that of its parent. Nothing of Each is its. Nil: none.
	Then *BatchItem `json:"then,omitempty"`
}

// Encode returns the spec as JSON, its args byte for byte.
func (b *BatchSpec) Encode() (json.RawMessage, error) {
	each, err := b.Each.encode()
	if err != nil {
		return nil, err
	}
	var items bytes.Buffer
	items.WriteByte('[')
	for i := range b.Items {
		one, err := b.Items[i].encode()
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", i+1, err)
		}
		if i > 0 {
			items.WriteByte(',')
		}
		items.Write(one)
	}
	items.WriteByte(']')
	raw := []schemas.RawField{{Name: "each", Value: each}, {Name: "items", Value: items.Bytes()}}
	if b.Then != nil {
		then, err := b.Then.encode()
		if err != nil {
			return nil, fmt.Errorf("then: %w", err)
		}
		raw = append(raw, schemas.RawField{Name: "then", Value: then})
	}
	return schemas.SpliceJSON(struct {
		Pace     *schemas.Rate `json:"pace,omitempty"`
		Parallel int           `json:"parallel,omitempty"`
	}{b.Pace, b.Parallel}, raw...)
}

func (i *BatchItem) encode() ([]byte, error) {
	one := *i
	one.Args = nil
	return schemas.SpliceJSON(&one, schemas.RawField{Name: "args", Value: i.Args})
}

// DecodeBatch reads the args of a batch. A field that it does not know is an error: what is misspelt would be left out
// in silence.
func DecodeBatch(args json.RawMessage) (*BatchSpec, error) {
	var b BatchSpec
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		return nil, err
	}
	b.Parallel = cmp.Or(b.Parallel, BatchParallelDefault)
	return &b, nil
}

// Item returns an item with what it leaves out filled in.
func (b *BatchSpec) Item(i int) BatchItem {
	item, each := b.Items[i], &b.Each
	item.Type = cmp.Or(item.Type, each.Type)
	item.Queue = cmp.Or(item.Queue, each.Queue)
	item.Priority = cmp.Or(item.Priority, each.Priority)
	item.Resource = cmp.Or(item.Resource, each.Resource)
	item.Principal = cmp.Or(item.Principal, each.Principal)
	if item.Tags == nil {
		item.Tags = each.Tags
	}
	item.Override = cmp.Or(item.Override, each.Override)
	if len(item.Args) == 0 {
		item.Args = each.Args
	}
	return item
}

// check reports what no batch can be, as invalid_argument. What only an item's own submit can tell, such as args that
// do not fit their schema, is left to that.
func (b *BatchSpec) check() error {
	switch n := len(b.Items); {
	case n == 0:
		return badField("items", errors.New("a batch without items has nothing to do"))
	case n > BatchItemsMax:
		return badField("items", fmt.Errorf("%d items: a batch has at most %d", n, BatchItemsMax))
	case b.Parallel < 1 || b.Parallel > BatchItemsMax:
		return badField("parallel", fmt.Errorf("%d items at once: give 1 to %d", b.Parallel, BatchItemsMax))
	}
	if err := b.Pace.Validate(); err != nil {
		return badField("pace", err)
	}
	for i := range b.Items {
		item := b.Item(i)
		r := SubmitRequest{Org: schemas.OrgDefault, Type: item.Type, Queue: item.Queue, Priority: item.Priority, Resource: item.Resource}
		if err := r.checkNames(); err != nil {
			e := AsError(err)
			return badField("items", fmt.Errorf("item %d: %s: %s", i+1, e.Field, e.Message))
		}
	}
	return nil
}

// BatchKey names a batch, whatever its generation: the ids of its items begin with it, so that every event of an item
// tells whose it is.
func BatchKey(org schemas.OrgID, batch schemas.JobID) string {
	return schemas.ReservedPrefix + "b" + shortHash(string(org), string(batch), "1")
}

// BatchOf returns the BatchKey of the batch that a job is an item of, "" if it is of none.
func BatchOf(id schemas.JobID) string {
	if len(id) <= batchKeyLen || !strings.HasPrefix(string(id), schemas.ReservedPrefix+"b") || id[batchKeyLen] != '-' {
		return ""
	}
	return string(id[:batchKeyLen])
}

// HeldBy reports whether a hold on a scope is on a job. A hold on a batch is on its items, and on nothing else: false
// where it cannot be told which these are, as another org's batch may have the same id, or where it names more than a
// batch and its org, which nobody can ask for.
func HeldBy(h schemas.HoldScope, j *Job) bool {
	if h.Batch == "" {
		return h.Matches(j.Org, j.Spec.Queue, j.Spec.Type, j.Spec.Resource, "")
	}
	return h == schemas.HoldScope{Org: j.Org, Batch: h.Batch} && BatchOf(j.ID) == BatchKey(h.Org, schemas.JobID(h.Batch))
}

// batchKeyLen is the length of every BatchKey.
var batchKeyLen = len(BatchKey("", ""))

// BatchItems is what the ids of a batch's items begin with; the item's number follows, counted from 0. They are used
// once for ever, so that whoever submits an item a second time finds the first.
func BatchItems(org schemas.OrgID, batch schemas.JobID, generation int) string {
	key := BatchKey(org, batch) + "-"
	if generation > 1 {
		key += strconv.Itoa(generation) + "-"
	}
	return key
}

// BatchItemID is the id of one item, given what BatchItems returned.
func BatchItemID(items string, i int) schemas.JobID { return schemas.JobID(items + strconv.Itoa(i)) }

// ParseBatchItemID undoes BatchItemID; false for any other id.
func ParseBatchItemID(id schemas.JobID) (items string, i int, ok bool) {
	at := strings.LastIndexByte(string(id), '-')
	if at < 0 || !strings.HasPrefix(string(id), schemas.ReservedPrefix+"b") {
		return "", 0, false
	}
	i, err := strconv.Atoi(string(id[at+1:]))
	return string(id[:at+1]), i, err == nil && i >= 0 && i < BatchItemsMax
}

// SubmitBatch stores a batch: r.Args is a BatchSpec as JSON, and r.Type and r.Queue are left empty. The receipt's id is
// the batch's. Errors are those of Submit; one about an item names it by its number, counted from 1. If the batch has a
// callback (BatchSpec.Then), both are stored when there is no error; with one, the batch may be: submitting it again with
// the same ID, Key or RequestID completes it.
func (l *Ledger) SubmitBatch(ctx context.Context, r SubmitRequest) (Receipt, error) {
	ctx, cancel := withPayloadTimeout(ctx, r.size())
	defer cancel()
	if r.Queue != "" || r.Type != "" {
		return Receipt{}, badField("queue", errors.New("a batch has a type and a queue of its own: give those of its items in each"))
	}
	var spec *BatchSpec
	if r.ArgsRef == nil { // else it is another batch's, which was looked at
		var err error
		if spec, err = l.readBatch(ctx, &r); err != nil {
			return Receipt{}, coded(err)
		}
	}
	if err := l.registerBatchType(ctx, r.Meta); err != nil {
		return Receipt{}, coded(err)
	}
	r.Type, r.system = BatchType, true
	receipt, err := l.Submit(ctx, r)
	if err != nil {
		return receipt, err
	}
	// If this process dies here, the handler of the batch stores the callback.
	return receipt, coded(l.storeThen(ctx, receipt, spec, &r))
}

// readBatch reads the batch that is asked for, and refuses what nobody could carry out.
func (l *Ledger) readBatch(ctx context.Context, r *SubmitRequest) (*BatchSpec, error) {
	if len(r.Args) > schemas.PayloadMax {
		return nil, tooLarge(int64(len(r.Args)))
	}
	b, err := DecodeBatch(r.Args)
	if err != nil {
		return nil, badField("items", fmt.Errorf("the batch cannot be read: %w", err))
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	if err := l.batchTypes(ctx, b, r); err != nil {
		return nil, err
	}
	if b.Then != nil {
		return b, l.checkThen(ctx, b.Then, r)
	}
	return b, nil
}

// batchTypes refuses a batch with a type that nobody knows: its items would all be refused, one after the other.
func (l *Ledger) batchTypes(ctx context.Context, b *BatchSpec, r *SubmitRequest) error {
	seen := make(map[schemas.TypeName]bool)
	for i := range b.Items {
		t := b.Item(i).Type
		if seen[t] {
			continue
		}
		if len(seen) == BatchTypesMax {
			return badField("items", fmt.Errorf("the items have more than %d types", BatchTypesMax))
		}
		seen[t] = true
		if _, err := l.typeFor(ctx, &SubmitRequest{Type: t, RegisterUnknown: r.RegisterUnknown, Meta: r.Meta}); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) registerBatchType(ctx context.Context, m Meta) error {
	return l.registerSystemType(ctx, m, "registered by the first batch", schemas.TypeSettings{
		Name: BatchType, DisplayName: "Batch", Description: "submits its items at a pace and follows them to their ends"})
}

// registerSystemType sets a type of what servers do themselves, unless it is set.
func (l *Ledger) registerSystemType(ctx context.Context, m Meta, reason string, t schemas.TypeSettings) error {
	_, err := l.Type(ctx, t.Name)
	if e := AsError(err); e == nil || e.Code != CodeUnknownType {
		return err
	}
	grace, off := schemas.MillisOf(systemGrace), schemas.Millis(0)
	t.Queue, t.TimeoutMS, t.GraceMS = SystemQueue, schemas.MillisOf(systemTimeout), &grace
	t.MaxAttempts, t.PoisonLimit = schemas.AttemptsMax, schemas.AttemptsMax
	t.Backoff = schemas.Backoff{BaseMS: schemas.MillisOf(systemBackoff), CapMS: schemas.MillisOf(systemCap)}
	t.WindowMS, t.Reuse, t.Exclusive = &off, schemas.ReuseNever, true
	_, err = l.Put(ctx, m, ControlType(t.Name), func(have schemas.Setting) (schemas.Setting, error) {
		if have != nil {
			return have, nil
		}
		return &schemas.TypeSet{Reason: reason, Settings: t}, nil
	})
	return err
}

// SubmitItem stores the job of one item of a batch, or finds it, whatever became of it: it makes at most one job,
// whoever submits it how often. items is what BatchItems returned, m says whose batch it is. Errors as of Submit.
func (l *Ledger) SubmitItem(ctx context.Context, org schemas.OrgID, batch schemas.JobID, items string, i int, item BatchItem, m Meta) (Receipt, error) {
	return l.Submit(ctx, SubmitRequest{Org: org, ID: BatchItemID(items, i), once: true, Batch: string(batch), Type: item.Type, Args: item.Args,
		Queue: item.Queue, Priority: item.Priority, Resource: item.Resource, Principal: item.Principal, Tags: item.Tags,
		Override: item.Override, Meta: m})
}
