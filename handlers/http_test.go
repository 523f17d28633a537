package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

func newHTTP(t *testing.T, url string) *HTTP {
	t.Helper()
	h := &HTTP{URL: url, AllowPrivate: true}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

func serve(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

// TestHTTPRequest shows what a service is sent (INTERFACE 2.6), signature included.
func TestHTTPRequest(t *testing.T) {
	secrets := []string{"new secret", "old secret"}
	a := testAttempt()
	a.Tracestate = "bad\nvalue"
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || string(body) != string(a.Args) {
			t.Errorf("%s %q, %v", r.Method, body, err)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/json",
			"ce-id":        "018f-event", "ce-source": "/orgs/acme", "ce-type": "jobledger.v1.running",
			"ce-specversion": "1.0", "ce-subject": "job-1", "jobledger-type": "fax", "jobledger-attempt": "3",
			"jobledger-deadline": "2026-11-23T14:00:00Z", "jobledger-fence": "4711",
			"traceparent": a.Traceparent, "tracestate": "", "idempotency-key": "acme-job-1-2",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		sig := r.Header.Get("jobledger-signature")
		stamp, _, _ := strings.Cut(strings.TrimPrefix(sig, "t="), ",")
		at, err := strconv.ParseInt(stamp, 10, 64)
		if err != nil || time.Since(time.Unix(at, 0)).Abs() > time.Minute {
			t.Errorf("signature %q: %v", sig, err)
		}
		if want := Signature(secrets, time.Unix(at, 0), "job-1", 3, body); sig != want || strings.Count(sig, ",v1=") != 2 {
			t.Errorf("signature %q, want %q", sig, want)
		}
		_, _ = io.WriteString(w, `{"sent": true}`)
	})
	h := newHTTP(t, url)
	h.Secrets = secrets
	if got, err := h.Run(context.Background(), a); string(got) != `{"sent": true}` || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

// TestSignatureVector holds the signature to what openssl computes over "1700000000.job-1.2.{}".
func TestSignatureVector(t *testing.T) {
	const want = "t=1700000000,v1=93cff0a12012e958d1addaa1eb9410a7f4ebce0a0d6fe985db23e69dc1875998"
	if got := Signature([]string{"secret"}, time.Unix(1700000000, 0), "job-1", 2, []byte("{}")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestHTTPAnswers shows the answers of INTERFACE 2.6 and.
func TestHTTPAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		header  string // Retry-After
		body    string
		want    string
		class   schemas.ErrorClass
		code    string
		message string
		after   time.Duration
	}{
		"200 with JSON":           {status: 200, body: `{"a":1}`, want: `{"a":1}`},
		"201 with text":           {status: 201, body: "made\n", want: `"made"`},
		"204":                     {status: 204},
		"over 64 KiB":             {status: 200, body: `"` + strings.Repeat("x", schemas.ResultMax) + `"`, want: `"` + strings.Repeat("x", schemas.ResultMax) + `"`},
		"over 32 MiB":             {status: 200, body: strings.Repeat("1", schemas.PayloadMax+1), class: schemas.ClassPermanent, code: CodeInvalidResult, message: "longer than 33554432"},
		"429 with seconds":        {status: 429, header: "120", class: schemas.ClassTransient, code: "http_429", after: 2 * time.Minute},
		"503 without":             {status: 503, body: "maintenance", class: schemas.ClassTransient, code: "http_503", message: "HTTP 503: maintenance"},
		"503, at most 24 h":       {status: 503, header: "900000", class: schemas.ClassTransient, code: "http_503", after: 24 * time.Hour},
		"503, negative":           {status: 503, header: "-5", class: schemas.ClassTransient, code: "http_503"},
		"503, unreadable":         {status: 503, header: "soon", class: schemas.ClassTransient, code: "http_503"},
		"500":                     {status: 500, class: schemas.ClassTransient, code: "http_500"},
		"408":                     {status: 408, class: schemas.ClassTransient, code: "http_408"},
		"400":                     {status: 400, body: "no such number", class: schemas.ClassPermanent, code: "http_400", message: "no such number"},
		"404, wait not honoured":  {status: 404, header: "60", class: schemas.ClassPermanent, code: "http_404"},
		"redirects":               {status: 302, class: schemas.ClassPermanent, code: "http_302"},
		"permanent redirects":     {status: 308, class: schemas.ClassPermanent, code: "http_308"},
		"long errors are bounded": {status: 500, body: strings.Repeat("e", 100_000), class: schemas.ClassTransient, code: "http_500", message: "eee"},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				w.Header().Set("Location", "/elsewhere")
				if c.header != "" {
					w.Header().Set("Retry-After", c.header)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			got, err := newHTTP(t, url).Run(context.Background(), testAttempt())
			if string(got) != c.want || calls.Load() != 1 {
				t.Errorf("result %.80s after %d calls", got, calls.Load())
			}
			if c.class == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			v := Classify(err, nil)
			if v.Error.Class != c.class || v.Error.Code != c.code || v.RetryAfter != c.after || !strings.Contains(v.Error.Message, c.message) || len(v.Error.Message) > answerErrorMax+100 {
				t.Errorf("got %+v", v)
			}
			if strings.HasPrefix(c.code, "http_") && v.Error.RemoteStatus != c.status {
				t.Errorf("remote status %d", v.Error.RemoteStatus)
			}
		})
	}
}

func TestRetryAfterDate(t *testing.T) {
	now := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"Mon, 23 Nov 2026 14:01:30 GMT": 90 * time.Second,
		"Mon, 23 Nov 2026 13:00:00 GMT": 0,
		"Mon, 30 Nov 2026 14:00:00 GMT": 24 * time.Hour,
		"NaN":                           0,
		"+Inf":                          24 * time.Hour,
		"":                              0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// TestHTTPNetworkErrors shows that a service which cannot be reached, or breaks off, is transient.
func TestHTTPNetworkErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://user:hunter2@" + l.Addr().String() + "/?key=hunter2"
	l.Close()
	breaks := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	})
	hangsUp := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for name, url := range map[string]string{"refused": refused, "breaks off": breaks, "hangs up": hangsUp, "no such host": "http://no-such-host.invalid/"} {
		t.Run(name, func(t *testing.T) {
			got, err := newHTTP(t, url).Run(context.Background(), testAttempt())
			if err == nil || got != nil {
				t.Fatalf("got %s, %v", got, err)
			}
			v := Classify(err, nil)
			if v.Error.Class != schemas.ClassTransient || v.Error.Code == "" || strings.Contains(v.Error.Message, "hunter2") {
				t.Errorf("got %+v", v)
			}
		})
	}
}

// TestHTTPOneRequest shows that an attempt is sent once: a kept connection that breaks after the request was
// written is a transient error, not a second request behind our back.
func TestHTTPOneRequest(t *testing.T) {
	var calls atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		if calls.Add(1) == 2 {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		}
	})
	h := newHTTP(t, url)
	if _, err := h.Run(context.Background(), testAttempt()); err != nil {
		t.Fatal(err)
	}
	_, err := h.Run(context.Background(), testAttempt())
	if err == nil || calls.Load() != 2 {
		t.Errorf("%d requests for two attempts, error %v", calls.Load(), err)
	}
}

// TestHTTPCancel shows that cancel and timeout close the request.
func TestHTTPCancel(t *testing.T) {
	arrived, closed := make(chan struct{}), make(chan struct{})
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server sees a closed connection only once the body is read
		close(arrived)
		<-r.Context().Done()
		close(closed)
	})
	ctx, cancel := context.WithCancelCause(context.Background())
	h, done := newHTTP(t, url), make(chan error)
	go func() {
		_, err := h.Run(ctx, testAttempt())
		done <- err
	}()
	<-arrived
	cancel(errTestCancel)
	if err := <-done; !errors.Is(err, errTestCancel) {
		t.Errorf("got %v", err)
	}
	<-closed
}

// TestHTTPGuard shows that private addresses are refused, by name and by number, as a permanent error.
func TestHTTPGuard(t *testing.T) {
	var calls atomic.Int32
	url := serve(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1"} {
		h := newHTTP(t, "http://"+host+":"+port)
		h.AllowPrivate = false
		_, err := h.Run(context.Background(), testAttempt())
		if err == nil {
			t.Errorf("%s was called", host)
			continue
		}
		if v := Classify(err, nil); v.Error.Class != schemas.ClassPermanent || v.Error.Code != CodeAddress || !strings.Contains(v.Error.Message, "--allow-private") {
			t.Errorf("%s: %+v", host, v)
		}
	}
	if calls.Load() != 0 {
		t.Errorf("%d requests came through", calls.Load())
	}
}

// TestHTTPMetadata shows that what a cloud tells a machine about itself is out of reach, also where private addresses are
// allowed.
func TestHTTPMetadata(t *testing.T) {
	for _, host := range []string{"169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "[fd00:ec2::254]", "100.100.100.200", "[64:ff9b::a9fe:a9fe]"} {
		_, err := newHTTP(t, "http://"+host+"/latest/meta-data").Run(context.Background(), testAttempt())
		if err == nil {
			t.Errorf("%s was called", host)
			continue
		}
		if v := Classify(err, nil); v.Error.Class != schemas.ClassPermanent || v.Error.Code != CodeAddress {
			t.Errorf("%s: %+v", host, v)
		}
	}
	for addr, want := range map[string]bool{"127.0.0.1": false, "10.0.0.1": false, "192.168.1.1": false, "::1": false, "fd00::1": false, "169.254.0.1": true, "fe80::1%eth0": true} {
		if got := metadataAddr(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: metadata %t, want %t", addr, got, want)
		}
	}
}

func TestPublicAddr(t *testing.T) {
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "2606:4700:4700::1111": true, "2a00:1450:4001::1": true,
		"64:ff9b::808:808": true, "2002:808:808::1": true,
		"127.0.0.53": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "0.1.2.3": false, "192.0.2.1": false, "198.18.0.1": false, "224.0.0.1": false,
		"240.0.0.1": false, "255.255.255.255": false, "::": false, "::1": false, "fe80::1%eth0": false, "fd00::1": false,
		"fec0::1": false, "ff02::1": false, "::ffff:10.0.0.1": false, "64:ff9b::a00:1": false, "2002:7f00:1::": false,
		"2001:db8::1": false, "2001::1": false, "::7f00:1": false,
	} {
		if got := publicAddr(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: public %t, want %t", addr, got, want)
		}
	}
}

func TestHTTPValidate(t *testing.T) {
	for url, ok := range map[string]bool{
		"http://host/path": true, "https://u:p@host:1/": true,
		"": false, "ftp://host": false, "http://": false, "host/path": false, "http://u:hunter2@ho st/%zz": false,
	} {
		h := &HTTP{URL: url}
		err := h.Validate()
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", url, err)
		}
		if !ok {
			if _, err := h.Run(context.Background(), &Attempt{Args: json.RawMessage("{}")}); Classify(err, nil).Error.Class != schemas.ClassPermanent {
				t.Errorf("%q ran: %v", url, err)
			}
		}
	}
}
