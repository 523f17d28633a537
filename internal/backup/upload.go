package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go"
)

// upload has the server make a stream of a snapshot. config is what the stream is created with. Each chunk is sent
// when the one before it is taken. The end is answered with the stream.
func upload(ctx context.Context, nc *nats.Conn, stream string, config map[string]any, state json.RawMessage, r io.Reader) error {
	var answer struct {
		Deliver string `json:"deliver_subject"`
	}
	ask := map[string]any{"config": config, "state": state}
	if err := request(ctx, nc, "$JS.API.STREAM.RESTORE."+stream, ask, &answer); err != nil {
		return err
	}
	err := sendAll(ctx, nc, answer.Deliver, r)
	if err != nil {
		// A chunk that wants no answer is the server's reason to give up at once, and not after 5 s.
		_ = nc.Publish(answer.Deliver, []byte("canceled"))
	}
	return err
}

func sendAll(ctx context.Context, nc *nats.Conn, subject string, r io.Reader) error {
	chunk := make([]byte, min(chunkSize, max(int(nc.MaxPayload())-4<<10, 1<<10)))
	for {
		n, err := io.ReadFull(r, chunk)
		if n > 0 {
			if err := send(ctx, nc, subject, chunk[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return send(ctx, nc, subject, nil)
		}
		if err != nil {
			return err
		}
	}
}

// send sends one chunk and waits until the server has taken it; nil ends the snapshot.
func send(ctx context.Context, nc *nats.Conn, subject string, chunk []byte) error {
	ctx, cancel := context.WithTimeout(ctx, uploadMax)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, subject, chunk)
	if err != nil {
		return fmt.Errorf("the server takes no more: %w", err)
	}
	if len(m.Data) == 0 {
		return nil
	}
	var answer struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("the server's answer: %w", err)
	}
	if answer.Error != nil {
		return answer.Error
	}
	return nil
}
