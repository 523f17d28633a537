package gateway_test

import (
	"context"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// thrownAway is an index that serves until it is read.
type thrownAway struct{}

func (thrownAway) Serves() bool                               { return true }
func (thrownAway) WaitFor(context.Context, schemas.Seq) error { return nil }
func (thrownAway) Page(context.Context, schemas.OrgID, *where.Where, schemas.Seq, int, time.Time) ([]ledger.Record, schemas.Seq, schemas.Seq, error) {
	return nil, 0, 0, gateway.ErrIndexFolding
}
func (thrownAway) Each(context.Context, schemas.OrgID, *where.Where, time.Time, int, func(ledger.Record)) (schemas.Seq, bool, error) {
	return 0, false, gateway.ErrIndexFolding
}

// R-44, DESIGN D2: an index that is thrown away while it is asked costs nobody an answer that the views can give; of
// others the caller is told to come again.
func TestIndexThrownAwayWhileItIsAsked(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *gateway.Config) { c.Index = thrownAway{} })
	receipt, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: "mail", Principal: "user:ada"})
	if err != nil {
		t.Fatal(err)
	}
	list, err := w.client.List(t.Context(), gateway.ListRequest{Filter: gateway.Filter{Where: "owner:*"}, MinSeq: receipt.Seq})
	if err != nil || len(list.Items) != 1 || list.Items[0].ID != receipt.ID {
		t.Errorf("listed %+v, %v", list, err)
	}
	if groups, err := w.client.Errors(t.Context(), gateway.ErrorsRequest{MinSeq: receipt.Seq}); err != nil || groups.AsOfSeq < receipt.Seq {
		t.Errorf("groups %+v, %v", groups, err)
	}
	if _, err := w.client.List(t.Context(), gateway.ListRequest{Filter: gateway.Filter{Where: "args:*"}}); ledger.AsError(err).Code != ledger.CodeUnavailable {
		t.Errorf("a search in args: %v", err)
	}
	if _, err := w.client.Count(t.Context(), gateway.CountRequest{By: "owner"}); ledger.AsError(err).Code != ledger.CodeUnavailable {
		t.Errorf("a count by owner: %v", err)
	}
}

// behind is an index that does not catch up.
type behind struct{ thrownAway }

func (behind) WaitFor(ctx context.Context, _ schemas.Seq) error {
	<-ctx.Done()
	return ctx.Err()
}

// a read that asks for its own writes is answered by the views where the index is behind.
func TestIndexThatIsBehind(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *gateway.Config) { c.Index = behind{} })
	receipt, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: "mail"})
	if err != nil {
		t.Fatal(err)
	}
	list, err := w.client.List(t.Context(), gateway.ListRequest{MinSeq: receipt.Seq})
	if err != nil || len(list.Items) != 1 || list.Items[0].ID != receipt.ID {
		t.Errorf("listed %+v, %v", list, err)
	}
}
