package demo

import (
	"bytes"
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/schemas"
)

// The headers of a delivery, and how long its signature is good (INTERFACE 2.6).
const (
	headerSignature = "jobledger-signature"
	headerAttempt   = "jobledger-attempt"
	headerJob       = "ce-subject"
	headerToken     = "idempotency-key"
	signatureAge    = 5 * time.Minute
	responseMax     = 4 << 10 // bytes of an answer that are read
)

// WebhookArgs are the arguments of a delivery job.
type WebhookArgs struct {
	Path  string          `json:"path"`  // at the receiver, for example /orders
	Event string          `json:"event"` // what happened, for example order.paid
	Data  json.RawMessage `json:"data,omitempty"`
}

// WebhookResult says how the receiver answered.
type WebhookResult struct {
	Status  int    `json:"status"`
	Answer  string `json:"answer,omitempty"`
	Attempt int    `json:"attempt"`
}

// webhookBody is what is posted.
type webhookBody struct {
	Event string          `json:"event"`
	Org   schemas.OrgID   `json:"org"`
	Job   schemas.JobID   `json:"job"`
	Data  json.RawMessage `json:"data,omitempty"`
}

// DeliverWebhook posts an event to the receiver, signed, with the job's token as idempotency key. If the attempt dies
// after the receiver has taken it, the next attempt sends the same token and the receiver counts it once.
func (t *Tasks) DeliverWebhook(ctx context.Context, a *handlers.Attempt, in WebhookArgs) (WebhookResult, error) {
	if in.Event == "" || !strings.HasPrefix(in.Path, "/") {
		return WebhookResult{}, permanentf("event %q, path %q: an event is needed, and a path that begins with /", in.Event, in.Path)
	}
	if t.cfg.Receiver == nil {
		return WebhookResult{}, errors.New("no receiver of webhooks is running")
	}
	body, err := json.Marshal(webhookBody{Event: in.Event, Org: a.Org, Job: a.ID, Data: in.Data})
	if err != nil {
		return WebhookResult{}, permanentf("data of event %q: %w", in.Event, err)
	}
	target := t.cfg.Receiver.JoinPath(in.Path) // cleans "..", escapes the rest: the host stays ours
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return WebhookResult{}, permanentf("path %q: %w", in.Path, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(headerJob, string(a.ID))
	req.Header.Set(headerAttempt, strconv.Itoa(a.Number))
	req.Header.Set(headerToken, a.Token)
	req.Header.Set(headerSignature, handlers.Signature([]string{t.cfg.Secret}, time.Now(), a.ID, a.Number, body))
	report(a, 50, "posting to "+target.Path)
	resp, err := t.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return WebhookResult{}, ctx.Err()
		}
		return WebhookResult{}, fmt.Errorf("deliver %s: %w", in.Event, err)
	}
	defer func() { _ = resp.Body.Close() }()                        // read only
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, responseMax)) // the status counts, the text is for people
	text := strings.TrimSpace(strings.ToValidUTF8(string(answer), "\uFFFD"))
	if resp.StatusCode/100 != 2 {
		wait, err := strconv.Atoi(resp.Header.Get("Retry-After")) // our receiver speaks in seconds
		if err != nil {
			wait = 0 // it asks for nothing
		}
		return WebhookResult{}, &handlers.StatusError{Status: resp.StatusCode, Message: text, RetryAfter: time.Duration(wait) * time.Second}
	}
	return WebhookResult{Status: resp.StatusCode, Answer: text, Attempt: a.Number}, nil
}

// verify reports why a delivery's signature is not to be believed: unreadable, wrong, or not of our time.
func verify(secret string, header http.Header, body []byte, now time.Time) error {
	given := header.Get(headerSignature)
	stamp, _, _ := strings.Cut(strings.TrimPrefix(given, "t="), ",")
	unix, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return errors.New("the signature is missing or unreadable")
	}
	attempt, err := strconv.Atoi(header.Get(headerAttempt))
	if err != nil {
		return errors.New("the attempt is missing or no number")
	}
	want := handlers.Signature([]string{secret}, time.Unix(unix, 0), schemas.JobID(header.Get(headerJob)), attempt, body)
	if !hmac.Equal([]byte(want), []byte(given)) { // in constant time
		return errors.New("the signature is wrong")
	}
	if now.Sub(time.Unix(unix, 0)).Abs() > signatureAge {
		return errors.New("the signature is too old")
	}
	return nil
}
