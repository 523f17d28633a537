package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// chunkSize is what one message of a snapshot holds, less where max_payload is small.
	chunkSize = 256 << 10
	// windowSize is how many bytes are under way unconfirmed: it bounds the memory that a snapshot takes here.
	windowSize = 4 << 20
	// silenceMax is how long the server may say nothing. It gives up by itself after 5 s without a confirmation.
	silenceMax = 30 * time.Second
	// requestMax is how long a request may take: the server opens the stream for reading before it answers.
	requestMax = 30 * time.Second
)

// apiError is what the server says instead of an answer.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// errCodeStreamNotFound is the server's for a stream that is not there.
const errCodeStreamNotFound = 10059

// request makes one request of the JetStream API whose answer is decoded into answer.
func request(ctx context.Context, nc *nats.Conn, subject string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestMax)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, subject, data)
	if err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failed); err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	if failed.Error != nil {
		return fmt.Errorf("%s: %w", subject, failed.Error)
	}
	return json.Unmarshal(m.Data, answer)
}

// snapshotAnswer is what a snapshot begins with.
type snapshotAnswer struct {
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
	state  jetstream.StreamState
}

// snapshot has the server send a stream, and writes what comes to w in order. begun is called with what the server
// says of the cut, before the first byte. Each chunk is confirmed after it is written, at most rate bytes a second
// (0: as they come), so a slow disk slows the server down and fills no memory.
func snapshot(ctx context.Context, nc *nats.Conn, stream string, rate int64, w io.Writer, begun func(*snapshotAnswer) error) error {
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // tells the server to stop, if it still sends
	var answer snapshotAnswer
	ask := struct {
		Deliver     string `json:"deliver_subject"`
		NoConsumers bool   `json:"no_consumers"`
		Chunk       int    `json:"chunk_size"`
		Window      int    `json:"window_size"`
		Check       bool   `json:"jsck"` // older servers check nothing else
	}{inbox, true, min(chunkSize, max(int(nc.MaxPayload())-4<<10, 1<<10)), windowSize, true}
	if err := request(ctx, nc, "$JS.API.STREAM.SNAPSHOT."+stream, ask, &answer); err != nil {
		return err
	}
	if err := json.Unmarshal(answer.State, &answer.state); err != nil {
		return fmt.Errorf("the server's answer holds no state: %w", err)
	}
	if err := begun(&answer); err != nil {
		return err
	}
	return receive(ctx, nc, sub, pacer{rate: rate, began: time.Now()}, w)
}

// receive takes the chunks of a snapshot until the message that ends it.
func receive(ctx context.Context, nc *nats.Conn, sub *nats.Subscription, pace pacer, w io.Writer) error {
	for next := 1; ; {
		wait, cancel := context.WithTimeout(ctx, silenceMax)
		m, err := sub.NextMsgWithContext(wait)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("the server sends no more: %w", err)
		}
		if status := m.Header.Get("Status"); len(m.Data) == 0 {
			if status != "" && status != "204" {
				return fmt.Errorf("the server broke off: %s %s", status, m.Header.Get("Description"))
			}
			return nil
		}
		if _, err := w.Write(m.Data); err != nil {
			return err
		}
		if m.Reply == "" {
			continue // the last, smaller chunk is not confirmed
		}
		// A connection that was away has missed chunks; they bear numbers.
		if n, err := strconv.Atoi(m.Reply[strings.LastIndexByte(m.Reply, '.')+1:]); err != nil || n != next {
			return fmt.Errorf("chunk %d came where %d was due: the connection was interrupted", n, next)
		}
		next++
		if err := pace.wait(ctx, len(m.Data)); err != nil {
			return err
		}
		if err := nc.Publish(m.Reply, nil); err != nil {
			return err
		}
	}
}

// pacer holds a rate over the whole time since it began.
type pacer struct {
	rate  int64 // bytes a second; 0: none
	began time.Time
	sent  int64
}

// wait returns when n more bytes may have passed.
func (p *pacer) wait(ctx context.Context, n int) error {
	if p.rate <= 0 {
		return nil
	}
	p.sent += int64(n)
	ahead := time.Duration(float64(p.sent)/float64(p.rate)*float64(time.Second)) - time.Since(p.began)
	if ahead <= 0 {
		return nil
	}
	t := time.NewTimer(min(ahead, time.Second)) // the server waits 5 s for a confirmation at most
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// notFound reports that a stream is not there.
func notFound(err error) bool {
	var api *apiError
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.As(err, &api) && api.ErrCode == errCodeStreamNotFound
}
