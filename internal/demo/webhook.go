package demo

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
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

// StatusError is an answer other than 2xx. It is transient for 408, 425, 429 and every 5xx, else permanent.
type StatusError struct {
	Status     int
	Text       string
	RetryAfter time.Duration // what the receiver asked for; 0: nothing
}

func (e *StatusError) Error() string {
	return strings.TrimRight(fmt.Sprintf("the receiver answered %d %s: %s", e.Status, http.StatusText(e.Status), e.Text), ": \n")
}

func (e *StatusError) transient() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return e.Status >= 500
}

// webhookBody is what is posted.
type webhookBody struct {
	Event string          `json:"event"`
	Org   string          `json:"org"`
	Job   string          `json:"job"`
	Data  json.RawMessage `json:"data,omitempty"`
}

// DeliverWebhook posts an event to the receiver, signed, with the job's token as idempotency key. If the attempt dies
// after the receiver has taken it, the next attempt sends the same token and the receiver counts it once.
func (t *Tasks) DeliverWebhook(ctx context.Context, c Call, in WebhookArgs) (WebhookResult, error) {
	if in.Event == "" || !strings.HasPrefix(in.Path, "/") {
		return WebhookResult{}, permanentf("event %q, path %q: an event is needed, and a path that begins with /", in.Event, in.Path)
	}
	if t.cfg.Receiver == nil {
		return WebhookResult{}, errors.New("no receiver of webhooks is running")
	}
	body, err := json.Marshal(webhookBody{Event: in.Event, Org: c.Org, Job: c.Job, Data: in.Data})
	if err != nil {
		return WebhookResult{}, permanentf("data of event %q: %w", in.Event, err)
	}
	target := t.cfg.Receiver.JoinPath(in.Path) // cleans "..", escapes the rest: the host stays ours
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return WebhookResult{}, permanentf("path %q: %w", in.Path, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(headerJob, c.Job)
	req.Header.Set(headerAttempt, strconv.Itoa(c.Attempt))
	req.Header.Set(headerToken, c.Token)
	req.Header.Set(headerSignature, sign(t.cfg.Secret, time.Now(), c.Job, c.Attempt, body))
	c.progress(50, "posting to "+target.Path)
	resp, err := t.cfg.Client.Do(req)
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
		failure := &StatusError{Status: resp.StatusCode, Text: text, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
		if failure.transient() {
			return WebhookResult{}, failure
		}
		return WebhookResult{}, &PermanentError{failure}
	}
	return WebhookResult{Status: resp.StatusCode, Answer: text, Attempt: c.Attempt}, nil
}

// retryAfter reads a Retry-After header, seconds or a date; 0 when there is none to be understood.
func retryAfter(v string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(v); err == nil && seconds > 0 {
		return time.Duration(min(seconds, int(durationMax/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(at.Sub(now), 0), durationMax)
	}
	return 0
}

// sign returns the signature header: HMAC-SHA256 over t.jobid.attempt.body (INTERFACE 2.6).
func sign(secret []byte, at time.Time, job string, attempt int, body []byte) string {
	return fmt.Sprintf("t=%d,v1=%s", at.Unix(), mac(secret, at.Unix(), job, strconv.Itoa(attempt), body))
}

func mac(secret []byte, unix int64, job, attempt string, body []byte) string {
	h := hmac.New(sha256.New, secret)
	_, _ = fmt.Fprintf(h, "%d.%s.%s.", unix, job, attempt) // a hash cannot fail
	_, _ = h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// verify reports why a delivery's signature is not to be believed: wrong, unreadable, or older or newer than signatureAge.
func verify(secret []byte, header http.Header, body []byte, now time.Time) error {
	stamp, given, ok := strings.Cut(header.Get(headerSignature), ",v1=")
	unix, err := strconv.ParseInt(strings.TrimPrefix(stamp, "t="), 10, 64)
	if !ok || err != nil {
		return errors.New("the signature is missing or unreadable")
	}
	want := mac(secret, unix, header.Get(headerJob), header.Get(headerAttempt), body)
	if !hmac.Equal([]byte(want), []byte(given)) {
		return errors.New("the signature is wrong")
	}
	if now.Sub(time.Unix(unix, 0)).Abs() > signatureAge {
		return errors.New("the signature is too old")
	}
	return nil
}
