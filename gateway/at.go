package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// GetRequest asks for a job's record as it stood at a moment.
type GetRequest struct {
	// At is a sequence, or a time in RFC 3339; empty: now.
	At string `json:"at,omitempty"`
}

// parseMoment reads a sequence or a time.
func parseMoment(text string) (at ledger.ReplayBound, err error) {
	if strings.Trim(text, "0123456789") == "" {
		at.Seq, err = schemas.ParseSeq(text)
	} else {
		at.Time, err = time.Parse(time.RFC3339Nano, text)
	}
	if err != nil || at == (ledger.ReplayBound{}) {
		return at, badField("at", fmt.Errorf("%q is neither a sequence nor a time in RFC 3339", text))
	}
	return at, nil
}

// getAt answers a job's record as it stood at a moment, out of its history. A result by reference is named, and not read.
func (g *Gateway) getAt(ctx context.Context, r *request, text string) ([]byte, error) {
	at, err := parseMoment(text)
	if err != nil {
		return nil, err
	}
	record, err := g.l.RecordAt(ctx, r.org, r.job(), at)
	if err == nil && !covers(ctx, record) { // an earlier job of this id was somebody else's
		err = ledger.ErrNotFound
	}
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, ledger.Errorf(ledger.CodeNotFound, "org %s had no job %s then, or its history is past its retention", r.org, r.job())
	}
	if err != nil {
		return nil, err
	}
	if err := g.masks().record(ctx, record); err != nil {
		return nil, err
	}
	switch err := g.withheld(ctx, r.org); {
	case err == nil:
	case ledger.AsError(err).Code != ledger.CodeOrgSuspended:
		return nil, err
	default:
		record.Result = json.RawMessage("null")
	}
	return record.Encode()
}
