package ledger_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// batchOf is a batch of n items of a type as JSON.
func batchOf(t *testing.T, typ schemas.TypeName, n int) json.RawMessage {
	t.Helper()
	spec := ledger.BatchSpec{Each: ledger.BatchItem{Type: typ}}
	for i := range n {
		spec.Items = append(spec.Items, ledger.BatchItem{Args: fmt.Appendf(nil, `{"n": %d, "<": "&"}`, i)})
	}
	body, err := spec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// A batch is a job of a reserved type, registered by the first; what no batch can be is refused with nothing stored,
// and so are the reserved names everywhere else.
func TestSubmitBatch(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, env.Context()
	if _, err := l.PutType(ctx, schemas.TypeSettings{Name: "echo"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args string
		code ledger.Code
		says string
	}{
		"no items":      {`{"each":{"type":"echo"},"items":[]}`, ledger.CodeInvalidArgument, "without items"},
		"too many":      {string(batchOf(t, "echo", ledger.BatchItemsMax+1)), ledger.CodeInvalidArgument, "10001 items"},
		"no type":       {`{"items":[{"type":"echo"},{"args":1}]}`, ledger.CodeInvalidArgument, "item 2: type"},
		"bad queue":     {`{"each":{"type":"echo"},"items":[{"queue":"a.b"}]}`, ledger.CodeInvalidArgument, "item 1: queue"},
		"reserved":      {`{"each":{"type":"_batch"},"items":[{}]}`, ledger.CodeInvalidArgument, "reserved"},
		"misspelt":      {`{"each":{"type":"echo"},"item":[{}]}`, ledger.CodeInvalidArgument, "item"},
		"pace":          {`{"each":{"type":"echo"},"items":[{}],"pace":{"count":1,"per_ms":1}}`, ledger.CodeInvalidArgument, "window"},
		"parallel":      {`{"each":{"type":"echo"},"items":[{}],"parallel":-1}`, ledger.CodeInvalidArgument, "at once"},
		"unknown type":  {`{"each":{"type":"nobody"},"items":[{}]}`, ledger.CodeUnknownType, "nobody"},
		"not an object": {`[]`, ledger.CodeInvalidArgument, "cannot be read"},
	} {
		_, err := l.SubmitBatch(ctx, ledger.SubmitRequest{Org: "acme", Args: json.RawMessage(c.args)})
		if e := ledger.AsError(err); e == nil || e.Code != c.code || !strings.Contains(e.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.Type(ctx, ledger.BatchType); ledger.AsError(err) == nil {
		t.Error("a batch that was refused has registered the type")
	}
	for name, r := range map[string]ledger.SubmitRequest{
		"type":  {Org: "acme", Type: ledger.BatchType, RegisterUnknown: true},
		"queue": {Org: "acme", Type: "echo", Queue: ledger.SystemQueue},
	} {
		if _, err := l.Submit(ctx, r); ledger.AsError(err) == nil || ledger.AsError(err).Field != name {
			t.Errorf("a reserved %s: %v", name, err)
		}
	}
	for _, set := range []schemas.TypeSettings{{Name: "_mine"}, {Name: "mine", Queue: "_mine"}} {
		if _, err := l.PutType(ctx, set, ledger.Meta{}, ""); ledger.AsError(err) == nil || ledger.AsError(err).Code != ledger.CodeInvalidArgument {
			t.Errorf("type %s of queue %q is accepted: %v", set.Name, set.Queue, err)
		}
	}
	body := batchOf(t, "echo", 3)
	r, err := l.SubmitBatch(ctx, ledger.SubmitRequest{Org: "acme", ID: "faxes", Args: body})
	if err != nil {
		t.Fatal(err)
	}
	j, err := l.Fold(ctx, "acme", r.ID)
	if err != nil || j.ID != "faxes" || j.Spec.Type != ledger.BatchType || j.Spec.Queue != ledger.SystemQueue || string(j.Spec.Args) != string(body) {
		t.Errorf("the batch is stored as %+v, %v", j, err)
	}
	spec, err := ledger.DecodeBatch(j.Spec.Args)
	if err != nil || len(spec.Items) != 3 || spec.Parallel != ledger.BatchParallelDefault || string(spec.Item(2).Args) != `{"n": 2, "<": "&"}` || spec.Item(2).Type != "echo" {
		t.Errorf("the batch is read as %+v, %v", spec, err)
	}
	set, err := l.Type(ctx, ledger.BatchType)
	if err != nil || set.Queue != ledger.SystemQueue || set.Reuse != schemas.ReuseNever || set.Validate() != nil {
		t.Errorf("the type is %+v, %v", set, err)
	}
}

// An item makes one job for ever: submitted again it is found, whatever became of it (R-09; DESIGN, Streams and
// buckets).
func TestSubmitItemOnce(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, env.Context()
	if _, err := l.PutType(ctx, schemas.TypeSettings{Name: "echo"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	items := ledger.BatchItems("acme", "faxes", 1)
	if other := ledger.BatchItems("acme", "faxes", 2); items == other {
		t.Error("two lives of a batch share their items")
	}
	item := ledger.BatchItem{Type: "echo", Args: json.RawMessage(`1`)}
	first, err := l.SubmitItem(ctx, "acme", "faxes", items, 7, item, ledger.Meta{})
	if err != nil || first.Duplicate {
		t.Fatalf("the first: %+v, %v", first, err)
	}
	if got, i, ok := ledger.ParseBatchItemID(first.ID); got != items || i != 7 || !ok {
		t.Errorf("%s is item %d of %s, %t", first.ID, i, got, ok)
	}
	for _, id := range []schemas.JobID{"faxes-7", "_bx", "_b-x", "_b-10000", "_s-nightly-1-20261125T210000Z"} {
		if _, _, ok := ledger.ParseBatchItemID(id); ok {
			t.Errorf("%s passes for an item", id)
		}
	}
	item.Args = json.RawMessage(`2`)
	again, err := l.SubmitItem(ctx, "acme", "faxes", items, 7, item, ledger.Meta{})
	if err != nil || !again.Duplicate || again.ID != first.ID || again.State != schemas.StateSubmitted {
		t.Errorf("submitted again: %+v, %v", again, err)
	}
	if _, _, err := l.Do(ctx, "acme", first.ID, &ledger.Cancel{}, ledger.Meta{}); err != nil {
		t.Fatal(err)
	}
	again, err = l.SubmitItem(ctx, "acme", "faxes", items, 7, item, ledger.Meta{})
	if err != nil || !again.Duplicate || again.State != schemas.StateCanceled || again.Generation != 1 {
		t.Errorf("submitted again after its end: %+v, %v", again, err)
	}
	if j, err := l.Fold(ctx, "acme", first.ID); err != nil || j.Spec.Batch != "faxes" || string(j.Spec.Args) != "1" {
		t.Errorf("the item is %+v, %v", j, err)
	}
}
