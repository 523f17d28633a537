package gateway

import (
	"context"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// WatchRequest says what to follow of the client's org.
type WatchRequest struct {
	// Job follows one job; empty: all.
	Job schemas.JobID
	// Type follows the jobs of one type; empty: all.
	Type schemas.TypeName
	// From is the sequence of the first event to tell; 0: those from now on. To resume, give that of the last
	// event told plus one.
	From schemas.Seq
	// Logger takes what is worth knowing of the connection. nil: nobody does.
	Logger *zap.Logger
}

// Watch calls fn for each event, none left out, and for what running attempts report, merged to the latest,
// until ctx ends or fn returns an error, which it returns. It reads the ledger itself, and so needs a connection
// in the ledger's own account, unlike the other calls. Progress is seen within half a second.
func (c *Client) Watch(ctx context.Context, r WatchRequest, fn func(ledger.Update) error) error {
	log := r.Logger
	if log == nil {
		log = zap.NewNop()
	}
	l, err := ledger.New(ledger.Config{Conn: c.Conn, Logger: log})
	if err != nil {
		return err
	}
	return l.Watch(ctx, ledger.ReplayQuery{Org: c.Org, Job: r.Job, Type: r.Type, From: ledger.ReplayBound{Seq: r.From}}, fn)
}
