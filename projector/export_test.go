package projector

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Each reads a bucket as a leader does that opens the views.
func Each(ctx context.Context, nc *nats.Conn, s jetstream.Stream, take func(key string, rev uint64, body []byte)) error {
	w, err := newWriter(nc)
	if err != nil {
		return err
	}
	return w.each(ctx, s, 1, take)
}
