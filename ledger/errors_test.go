package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// a closed set, each with its HTTP status.
func TestCodes(t *testing.T) {
	t.Parallel()
	want := map[ledger.Code]int{
		"invalid_argument": 400, "unknown_type": 400, "type_disabled": 400, "unauthenticated": 401,
		"permission_denied": 403, "org_suspended": 403, "not_found": 404, "org_not_found": 404,
		"duplicate": 409, "id_conflict": 409, "invalid_state": 409, "in_use": 409, "version_conflict": 409, "stale_attempt": 409,
		"position_expired": 410, "payload_too_large": 413, "queue_full": 429, "rate_limited": 429, "internal": 500, "unavailable": 503,
	}
	for _, c := range ledger.Codes() {
		if want[c] != c.Status() {
			t.Errorf("%s has status %d, want %d", c, c.Status(), want[c])
		}
		delete(want, c)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// Every error finds its code, and keeps its cause (STYLE 7: errors.Is finds engine errors through every layer).
func TestAsError(t *testing.T) {
	t.Parallel()
	if ledger.AsError(nil) != nil {
		t.Error("nil became an error")
	}
	for _, c := range []struct {
		err  error
		code ledger.Code
	}{
		{&ledger.StateError{State: schemas.StateQueued, Command: "retry"}, ledger.CodeInvalidState},
		{ledger.ErrNotFound, ledger.CodeNotFound},
		{ledger.ErrStaleAttempt, ledger.CodeStaleAttempt},
		{ledger.ErrUnreadable, ledger.CodeUnavailable},
		{ledger.ErrUnknown, ledger.CodeUnavailable},
		{context.DeadlineExceeded, ledger.CodeUnavailable},
		{nats.ErrNoResponders, ledger.CodeUnavailable},
		{&jetstream.APIError{Code: 503, ErrorCode: 10008}, ledger.CodeUnavailable}, // during an election
		{&jetstream.APIError{Code: 400, ErrorCode: 10025}, ledger.CodeInternal},
		{ledger.Errorf(ledger.CodeQueueFull, "full"), ledger.CodeQueueFull},
		{io.ErrUnexpectedEOF, ledger.CodeInternal},
	} {
		wrapped := fmt.Errorf("do: %w", c.err)
		if e := ledger.AsError(wrapped); e.Code != c.code || !errors.Is(error(e), c.err) {
			t.Errorf("%v became %v, want %s with its cause", c.err, e, c.code)
		}
	}
}
