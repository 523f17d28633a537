package demo_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/demo"
	"github.com/dartwing/jobledger/schemas"
)

const secret = "a secret of the test"

// receiver runs a Receiver on loopback until the test ends, and returns tasks that deliver to it.
func receiver(t *testing.T) (*demo.Receiver, *demo.Tasks, *url.URL) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &demo.Receiver{Secret: secret}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the receiver ended with %v", err)
		}
	})
	at := &url.URL{Scheme: "http", Host: l.Addr().String()}
	return r, demo.New(demo.Config{Receiver: at, Secret: secret}), at
}

func attempt(token string, n int) *handlers.Attempt {
	return &handlers.Attempt{Org: "initech", ID: schemas.JobID("job-" + token), Number: n, Token: token}
}

func TestDeliverWebhook(t *testing.T) {
	r, ts, _ := receiver(t)
	got, err := ts.DeliverWebhook(t.Context(), attempt("a", 1), demo.WebhookArgs{Path: "/orders", Event: "order.paid", Data: json.RawMessage(`{"n":9007199254740993}`)})
	if err != nil || got != (demo.WebhookResult{Status: 200, Answer: "taken", Attempt: 1}) {
		t.Fatalf("%+v, %v", got, err)
	}
	want := demo.Delivery{Path: "/orders", Token: "a", Job: "job-a", Attempt: 1,
		Body: `{"event":"order.paid","org":"initech","job":"job-a","data":{"n":9007199254740993}}`}
	if d := r.Deliveries(); len(d) != 1 || d[0] != want {
		t.Errorf("taken: %+v\nwant %+v", d, want)
	}
}

// Shows R-27: whatever is sent again under one token counts once.
func TestDeliverTwiceCountsOnce(t *testing.T) {
	r, ts, _ := receiver(t)
	for n := 1; n <= 3; n++ {
		if _, err := ts.DeliverWebhook(t.Context(), attempt("a", n), demo.WebhookArgs{Path: "/orders", Event: "order.paid"}); err != nil {
			t.Fatal(err)
		}
	}
	if d := r.Deliveries(); len(d) != 1 || d[0].Repeats != 2 || d[0].Attempt != 1 {
		t.Errorf("taken: %+v: want one delivery, repeated twice", d)
	}
}

func TestMisbehavingPaths(t *testing.T) {
	r, ts, _ := receiver(t)
	for _, c := range []struct {
		path      string
		status    int
		after     time.Duration
		permanent bool
	}{{demo.PathFlaky + "x", 500, 0, false}, {demo.PathBusy + "x", 503, time.Second, false}, {demo.PathGone + "x", 410, 0, true}} {
		for _, token := range []string{"first" + c.path, "second" + c.path} { // each token fails once, so a second run of the demo does too
			_, err := ts.DeliverWebhook(t.Context(), attempt(token, 1), demo.WebhookArgs{Path: c.path, Event: "e"})
			if err == nil {
				t.Fatalf("%s: taken at the first attempt", c.path)
			}
			if v := handlers.Classify(err, nil); v.Error.RemoteStatus != c.status || v.RetryAfter != c.after || (v.Error.Class == schemas.ClassPermanent) != c.permanent {
				t.Errorf("%s: judged %+v", c.path, v)
			}
			if _, err := ts.DeliverWebhook(t.Context(), attempt(token, 2), demo.WebhookArgs{Path: c.path, Event: "e"}); (err != nil) != c.permanent {
				t.Errorf("%s, second attempt: %v", c.path, err)
			}
		}
	}
	if d := r.Deliveries(); len(d) != 4 {
		t.Errorf("taken: %+v: want four", d)
	}
}

// Shows: which answers are worth another try.
func TestAnswersAreClassed(t *testing.T) {
	status := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://192.0.2.1/elsewhere") // a redirect followed there would hang
		w.Header().Set("Retry-After", "never mind")
		w.WriteHeader(status)
	}))
	defer s.Close()
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	ts := demo.New(demo.Config{Receiver: at, Secret: secret})
	for _, c := range []struct {
		status    int
		permanent bool
	}{{408, false}, {425, false}, {429, false}, {500, false}, {502, false}, {503, false}, {599, false},
		{301, true}, {307, true}, {400, true}, {401, true}, {404, true}, {410, true}, {422, true}} {
		status = c.status
		_, err := ts.DeliverWebhook(t.Context(), attempt("a", 1), demo.WebhookArgs{Path: "/x", Event: "e"})
		if err == nil || permanent(err) != c.permanent {
			t.Errorf("%d: %v; permanent: %v", c.status, err, c.permanent)
		}
	}
}

func TestDeliverHostileArgs(t *testing.T) {
	var asked string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.URL.Path }))
	defer s.Close()
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	ts := demo.New(demo.Config{Receiver: at.JoinPath("hooks"), Secret: secret})
	for path, want := range map[string]string{"//192.0.2.1/x": "/hooks/192.0.2.1/x", "/a?b=c#d": "/hooks/a?b=c#d", "/a b": "/hooks/a b", "/x/./y": "/hooks/x/y"} {
		if _, err := ts.DeliverWebhook(t.Context(), attempt("a", 1), demo.WebhookArgs{Path: path, Event: "e"}); err != nil || asked != want {
			t.Errorf("path %q asked for %q, %v; want %q", path, asked, err, want)
		}
	}
	for _, in := range []demo.WebhookArgs{{Path: "/x"}, {Event: "e"}, {Path: "http://192.0.2.1/", Event: "e"}, {Path: "/x", Event: "e", Data: json.RawMessage("{")}} {
		_, err := ts.DeliverWebhook(t.Context(), attempt("a", 1), in)
		wantPermanent(t, err)
	}
}

// A receiver that is not there may come back; one that hangs is left when the attempt ends.
func TestDeliverToNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := &url.URL{Scheme: "http", Host: l.Addr().String()} // listens, never accepts
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	ts := demo.New(demo.Config{Receiver: at, Secret: secret})
	if _, err := ts.DeliverWebhook(ctx, attempt("a", 1), demo.WebhookArgs{Path: "/x", Event: "e"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a receiver that hangs: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, ts := range []*demo.Tasks{ts, demo.New(demo.Config{})} {
		_, err = ts.DeliverWebhook(t.Context(), attempt("a", 1), demo.WebhookArgs{Path: "/x", Event: "e"})
		if err == nil || permanent(err) {
			t.Errorf("no receiver: %v, want an error that may be retried", err)
		}
	}
}

// The signature is checked against one made here, from INTERFACE 2.6 alone.
func TestReceiverBelievesGoodSignaturesOnly(t *testing.T) {
	r, _, at := receiver(t)
	now := time.Now().Unix()
	good := func(key string, unix int64, body string) string {
		h := hmac.New(sha256.New, []byte(key))
		_, _ = fmt.Fprintf(h, "%d.job-1.1.%s", unix, body) // a hash cannot fail
		return fmt.Sprintf("t=%d,v1=%s", unix, hex.EncodeToString(h.Sum(nil)))
	}
	post := func(signature, body string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at.JoinPath("x").String(), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{"ce-subject": "job-1", "jobledger-attempt": "1", "idempotency-key": "token", "jobledger-signature": signature} {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }() // read only
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	for name, c := range map[string]struct {
		signature, body string
		want            int
	}{
		"none":       {"", "{}", 401},
		"no stamp":   {"v1=00", "{}", 401},
		"other key":  {good("another", now, "{}"), "{}", 401},
		"other body": {good(secret, now, "{}"), `{"x":1}`, 401},
		"old":        {good(secret, now-301, "{}"), "{}", 401},
		"future":     {good(secret, now+400, "{}"), "{}", 401},
		"too large":  {good(secret, now, "{}"), strings.Repeat(" ", 1<<20+1), 413},
	} {
		if got := post(c.signature, c.body); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if d := r.Deliveries(); len(d) != 0 {
		t.Errorf("taken without a good signature: %+v", d)
	}
	if got := post(good(secret, now, "{}"), "{}"); got != 200 {
		t.Errorf("a good one: %d", got)
	}
}

func TestReceiverForgetsTheOldest(t *testing.T) {
	r, ts, _ := receiver(t)
	for i := range 1030 {
		if _, err := ts.DeliverWebhook(t.Context(), attempt(fmt.Sprint(i), 1), demo.WebhookArgs{Path: "/x", Event: "e"}); err != nil {
			t.Fatal(err)
		}
	}
	if d := r.Deliveries(); len(d) != 1024 || d[0].Token != "6" {
		t.Errorf("%d remembered, the oldest %q: want 1024 from 6 on", len(d), d[0].Token)
	}
}

func TestReceiverStops(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&demo.Receiver{Secret: secret}).Run(ctx, l); err != nil {
		t.Errorf("stopped before the start: %v", err)
	}
	if err := (&demo.Receiver{Secret: secret}).Run(t.Context(), l); err == nil {
		t.Error("a closed listener is served without complaint")
	}
}
