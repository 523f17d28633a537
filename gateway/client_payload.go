package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// headerRoom is what a submit needs beside its args; where the server's max_payload leaves less, they are uploaded first.
	headerRoom = 64 << 10
	// payloadPace is the least that args are expected to travel in a second.
	payloadPace = 1 << 20
)

// allowance is what n bytes of args add to the time of a request.
func allowance(n int) time.Duration { return time.Duration(n/payloadPace) * time.Second }

// sendArgs returns the body of a submit: the args, or nothing where they are too large for one request and were
// uploaded in parts.
func (c *Client) sendArgs(ctx context.Context, h nats.Header, args json.RawMessage) ([]byte, error) {
	limit := int(c.Conn.MaxPayload()) - headerRoom
	if len(args) <= limit || limit <= 0 || len(args) > schemas.PayloadMax { // what is over all limits the service refuses
		return args, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout()+allowance(len(args)))
	defer cancel()
	id := uuid.Must(uuid.NewV7()).String()
	cursor := ""
	for rest := []byte(args); len(rest) > 0; {
		n := min(len(rest), PartMax, limit)
		var err error
		if cursor, err = c.sendPart(ctx, id, cursor, rest[:n]); err != nil {
			return nil, fmt.Errorf("upload the args: %w", err)
		}
		rest = rest[n:]
	}
	sum := sha256.Sum256(args)
	h[HeaderArgsUpload], h[HeaderArgsBytes] = []string{id}, []string{strconv.Itoa(len(args))}
	h[HeaderArgsSHA256] = []string{hex.EncodeToString(sum[:])}
	return nil, nil
}

// dropUpload says that the submit is answered: what was uploaded for it is not needed again. Should this get lost,
// the collector removes it.
func (c *Client) dropUpload(h nats.Header) {
	if id := h[HeaderArgsUpload]; len(id) > 0 {
		_ = c.Conn.Publish(Name+"."+string(c.Org)+".upload."+id[0], nil) // unanswered, like all that nobody waits for
	}
}

// sendPart uploads one part and returns the cursor behind it. The same part sent again is stored once.
func (c *Client) sendPart(ctx context.Context, id, cursor string, part []byte) (string, error) {
	h := nats.Header{}
	if cursor != "" {
		h[HeaderUploadAfter] = []string{cursor}
	}
	for {
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		var reply UploadReply
		err := c.call(try, "upload."+id, h, part, &reply)
		cancel()
		if err == nil {
			return reply.Cursor, nil
		}
		e := ledger.AsError(err)
		unanswered := e.Code == ledger.CodeUnavailable && e.Details[ledger.DetailReason] == ledger.ReasonOutcomeUnknown
		if !unanswered || !pause(ctx, retryPause) {
			return "", &ledger.Error{Code: e.Code, Message: e.Message, Field: e.Field, Cause: err,
				Details: map[string]any{ledger.DetailReason: ledger.ReasonPayloadNotStored}}
		}
	}
}

// nothingStored reports an error which says that no event was stored.
func nothingStored(e *ledger.Error) bool {
	reason := e.Details[ledger.DetailReason]
	return reason == ledger.ReasonNoResponse || reason == ledger.ReasonPayloadNotStored || reason == ledger.ReasonStorageFull
}

// Payload returns a job's args (PayloadArgs) or result (PayloadResult), byte for byte, wherever they are kept and
// however large; a result that does not exist is invalid_state.
func (c *Client) Payload(ctx context.Context, id schemas.JobID, of string) (json.RawMessage, error) {
	return c.payload(ctx, id, PayloadRequest{Of: of})
}

func (c *Client) payload(ctx context.Context, id schemas.JobID, req PayloadRequest) (json.RawMessage, error) {
	of := req.Of
	var data []byte
	for {
		page, err := ask[PayloadPage](ctx, c, "payload."+string(id), req)
		if err != nil {
			return nil, err
		}
		if page.Bytes > schemas.PayloadMax || int64(len(data)+len(page.Data)) > page.Bytes {
			return nil, ledger.Errorf(ledger.CodeInternal, "the %s of job %s come as more bytes than they are said to be", of, id)
		}
		data = append(data, page.Data...)
		if page.Next == nil {
			if sum := sha256.Sum256(data); int64(len(data)) != page.Bytes || hex.EncodeToString(sum[:]) != page.SHA256 {
				return nil, ledger.Errorf(ledger.CodeInternal, "the %s of job %s are not what was stored: %d of %d bytes came", of, id, len(data), page.Bytes)
			}
			return data, nil
		}
		req.Cursor = *page.Next
	}
}

// Result returns a completed job's result, wherever it is kept; invalid_state with details.state where there is none.
func (c *Client) Result(ctx context.Context, id schemas.JobID) (*ResultReply, error) {
	r, err := ask[ResultReply](ctx, c, "result."+string(id), nil)
	if err != nil || r.Ref == nil || r.Bytes <= followMax && string(r.Result) != "null" {
		return r, err
	}
	r.Result, err = c.Payload(ctx, id, PayloadResult)
	return r, err
}
