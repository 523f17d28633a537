package handlers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// StreamType is the media type of an answer 2xx that reports progress: one JSON object per line, as on fd 3
	// of a process, and at the end {"result":...} or {"error":{...}}. Any other 2xx body is the result.
	StreamType = "application/vnd.jobledger+ndjson"

	// HTTPCheckpointMax is the greatest size in bytes of a checkpoint that a service can save: it gets the last
	// one in a header, which servers bound to about 8 KiB.
	HTTPCheckpointMax = 4 << 10

	acceptTypes = StreamType + ", application/json, */*;q=0.5"

	headerCheckpoint          = "jobledger-checkpoint"
	headerCheckpointSignature = "jobledger-checkpoint-signature"
)

// errorLine is how a service ends an attempt whose answer has begun: its status is sent already.
type errorLine struct {
	Message string             `json:"message"`
	Code    string             `json:"code"`
	Class   schemas.ErrorClass `json:"class"` // transient, permanent; anything else is unclassified
}

// isStream reports an answer in StreamType.
func isStream(res *http.Response) bool {
	t, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	return err == nil && t == StreamType
}

// addCheckpoint tells the service where an earlier attempt stopped. One that is too large for a header was
// saved by another kind of worker; the service begins from the start, as it must be able to.
func (h *HTTP) addCheckpoint(req *http.Request, a *Attempt) {
	switch n := len(a.Checkpoint); {
	case n == 0:
		return
	case n > HTTPCheckpointMax:
		h.logger(a).Warn("the last checkpoint is too large for an HTTP header: the service begins from the start",
			zap.Int("bytes", n), zap.Int("max", HTTPCheckpointMax))
		return
	}
	req.Header.Set(headerCheckpoint, base64.StdEncoding.EncodeToString(a.Checkpoint))
	if len(h.Secrets) > 0 {
		req.Header.Set(headerCheckpointSignature, Signature(h.Secrets, time.Now(), a.ID, a.Number, a.Checkpoint))
	}
}

func (h *HTTP) logger(a *Attempt) *zap.Logger {
	if h.Logger == nil {
		return zap.NewNop()
	}
	return h.Logger.With(zap.String("org", string(a.Org)), zap.String("job", string(a.ID)),
		zap.String("type", string(a.Type)), zap.Int("attempt", a.Number))
}

// stream reads an answer in StreamType to the line that ends the attempt. What follows it is not read.
func (h *HTTP) stream(ctx context.Context, a *Attempt, body io.Reader) (json.RawMessage, error) {
	c := newControl(a, "the answer", h.logger(a))
	c.checkpointMax = HTTPCheckpointMax
	var result json.RawMessage
	var failure error
	ended := false
	c.last = func(l *controlLine) bool {
		switch {
		case l.Error != nil:
			failure, ended = lineError(l.Error, c.retryAfter), true
		case len(l.Result) > 0:
			result, ended = l.Result, true
		}
		return ended
	}
	err := c.read(ctx, body, ctx.Done())
	c.saver.close()
	switch {
	case ended && failure == nil:
		failure = checkResultSize("the result", int64(len(result)))
		return result, failure
	case ended:
		return nil, failure
	case errors.Is(err, io.EOF) && c.long:
		return nil, &marked{err: fmt.Errorf("http: the answer ended with a line over %d bytes: a larger result is answered as a plain body", LineMax),
			class: schemas.ClassPermanent, code: CodeInvalidResult}
	case err == nil || errors.Is(err, io.EOF):
		return nil, &marked{err: errors.New(`http: the answer ended without a line {"result":...} or {"error":{...}}`),
			class: schemas.ClassTransient, code: CodeNetwork}
	}
	return nil, callError(ctx, fmt.Errorf("read the answer: %w", err))
}

func lineError(l *errorLine, after time.Duration) error {
	m := &marked{err: errors.New(l.Message), code: l.Code, class: schemas.ClassUnclassified, after: after}
	if l.Message == "" {
		m.err = errors.New("the service gave no message")
	}
	if l.Class == schemas.ClassTransient || l.Class == schemas.ClassPermanent {
		m.class = l.Class
	}
	return m
}
