package gateway

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// usual reports whether an error is one that a caller is told, and not a fault of ours.
func usual(err error) bool { return err == nil || ledger.AsError(err).Code != ledger.CodeInternal }

// FuzzBody: whatever stands in the body of a route over HTTP, it is read, or refused with a code of the caller's.
func FuzzBody(f *testing.F) {
	for i := range routes {
		f.Add(uint8(i), []byte(`{"type":"echo","args":{"n":1},"tags":{"a":"b"},"reason":"x"}`))
	}
	for _, body := range []string{"", "null", "[]", `{"type":"echo"}{}`, `{"args":1e999,"type":"x"}`, `{"run_timeout_s":1e308,"type":"x"}`, `{"tags":{"\r\n":"x"},"type":"x"}`, `{"parents":["a;b;c"],"type":"x"}`,
		`{"scope":{},"on":true}`, `{"items":[{}]}`, strings.Repeat("[", 20_000)} {
		f.Add(uint8(0), []byte(body))
	}
	f.Fuzz(func(t *testing.T, route uint8, body []byte) {
		rt := &routes[int(route)%len(routes)]
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://host/", nil)
		if err != nil {
			t.Fatal(err)
		}
		in := &httpRequest{Request: r, asked: rt.query, request: &request{org: "acme", headers: nats.Header{}, body: body}}
		if rt.takes != nil {
			in.taken = reflect.New(reflect.TypeOf(rt.takes)).Interface()
			if err := in.decodeStrictly(in.taken); err != nil {
				if !usual(err) {
					t.Fatalf("%s: %v", rt.pattern, err)
				}
				return
			}
		}
		if rt.fill != nil {
			if err := rt.fill(in); !usual(err) {
				t.Fatalf("%s: %v", rt.pattern, err)
			}
		}
		for name, values := range in.headers {
			if v := strings.Join(values, "") + name; strings.ContainsAny(v, "\r\n") && !strings.HasPrefix(name, "Jobledger-") && name != HeaderKey {
				t.Fatalf("%s: the header %q is %q", rt.pattern, name, values)
			}
		}
		if rt.endpoint == "submit" {
			var req ledger.SubmitRequest
			if err := parseHeaders(in.headers, &req); !usual(err) {
				t.Fatal(err)
			}
		}
	})
}

// FuzzHeaders: whatever headers a submit has, they are read, or refused with the name of the one that is wrong.
func FuzzHeaders(f *testing.F) {
	for _, h := range []string{HeaderKey, HeaderQueue, HeaderPriority, HeaderNotBefore, HeaderDeadline, HeaderAfter, HeaderAfterPolicy, HeaderJobID, HeaderMaxAttempts, HeaderRunTimeout, HeaderResource,
		HeaderPrincipal, HeaderTag, HeaderDedup, HeaderOnDuplicate, HeaderBatch, HeaderReason, HeaderRequestID, "traceparent"} {
		for _, v := range []string{"", "x", "a=b", "1h", "-1", "9999999999999999999h", "2026-11-23T14:00:00Z", "high", "a;b,c;cancel", "off", "\x00"} {
			f.Add(h, v, v)
		}
	}
	f.Fuzz(func(t *testing.T, name, one, two string) {
		var req ledger.SubmitRequest
		if err := parseHeaders(nats.Header{name: {one, two}}, &req); !usual(err) {
			t.Fatalf("%s %q %q: %v", name, one, two, err)
		}
		if err := parseHeaders(nats.Header{name: {one}, HeaderTag: {two}, HeaderAfter: {two}}, &req); !usual(err) {
			t.Fatal(err)
		}
	})
}

// FuzzQuery: a query of a list is read as a filter, or refused; what is read is a filter that can be asked.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{"", "state=completed&limit=5", "q=type:echo", "q=args.x:1..2", "since=1h&until=2026-01-01T00:00:00Z", "owner=a,b&tag=x:y", "state=&state=", "q=%00", "limit=-1", "cursor=7"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, text string) {
		values, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		got, err := filter(values)
		if !usual(err) {
			t.Fatal(err)
		}
		if err == nil {
			if err := got.check(); !usual(err) {
				t.Fatal(err)
			}
		}
	})
}

// FuzzCursors: a cursor is read, or refused; one that is read is told as it is and read the same.
func FuzzCursors(f *testing.F) {
	for _, s := range []string{"", "7", "7.9", "-.7", "-9223372036854775808.18446744073709551615", ".", "7.-1", "007", "1e3", "+1", "٧"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parsePlace(s); err == nil && s != "" {
			if again, err := parsePlace(p.String()); err != nil || again != p {
				t.Fatalf("%q is %+v, and %q is %+v, %v", s, p, p.String(), again, err)
			}
		}
		if c, err := parsePayloadCursor(s); err == nil && s != "" {
			if again, err := parsePayloadCursor(c.String()); err != nil || again != c || c.offset < 0 {
				t.Fatalf("%q is %+v, and %q is %+v, %v", s, c, c.String(), again, err)
			}
		} else if !usual(err) {
			t.Fatal(err)
		}
		// Last-Event-ID, ?after= and If-Match.
		if seq, err := schemas.ParseSeq(s); err == nil {
			if again, err := schemas.ParseSeq(seq.String()); err != nil || again != seq {
				t.Fatalf("%q is %d, then %d, %v", s, seq, again, err)
			}
		}
		if _, err := parseOrder(s); err != nil && err.Error() == "" {
			t.Fatal("an error without a word")
		}
	})
}

// FuzzToken: the id in a secret is one that a subject can hold, or there is none; a secret is found by its own id alone.
func FuzzToken(f *testing.F) {
	id, secret := newSecret()
	for _, s := range []string{"", "jl_", secret, secret[:len(secret)-1], secret + "x", strings.Replace(secret, id, strings.Repeat("*", len(id)), 1), strings.Replace(secret, id, "../../../../../x", 1), strings.ToUpper(secret)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := tokenID(s)
		if got == "" {
			return
		}
		if err := schemas.CheckToken("token id", got); err != nil || !strings.HasPrefix(s, tokenPrefix+got+"_") || len(got) != 2*tokenIDBytes {
			t.Fatalf("the id of %q is %q: %v", s, got, err)
		}
	})
}

// FuzzSubject: what stands behind an account in a subject finds an endpoint that takes so many names, or none, and the request
// has the org and the name that stand there.
func FuzzSubject(f *testing.F) {
	all := verbsOf((&Gateway{}).endpoints())
	for pattern := range all {
		f.Add("acme." + strings.Replace(pattern, "*", "x", 1))
	}
	for _, s := range []string{"acme.", ".list", "acme.get.*", "acme.get.a.b", "acme.*", "acme.get.", "acme.get", "..", ">"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		org, verb, ok := strings.Cut(subject, ".")
		if !ok {
			return
		}
		ep := all.find(verb)
		if ep == nil {
			return
		}
		name, named := strings.CutSuffix(ep.pattern, "*")
		if verb != ep.pattern && (!named || !strings.HasPrefix(verb, name) || strings.Contains(verb[len(name):], ".")) {
			t.Fatalf("%q found %s", verb, ep.pattern)
		}
		r := &request{org: schemas.OrgID(org), name: verb[strings.LastIndexByte(verb, '.')+1:]}
		if r.check() == nil && strings.ContainsAny(org+r.name, ".*> /\\\r\n\x00") {
			t.Fatalf("%q is taken as org %q, name %q", subject, org, r.name)
		}
	})
}

// FuzzRequest: the body of any request over NATS is read, or refused with a code of the caller's, leniently and strictly alike.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{"", "{}", "null", `{"limit":1e9}`, `{"filter":{"state":["x"]}}`, `{"after":-1}`, `{"after":18446744073709551616}`, `{"scope":{"org":"a.b"}}`, `{"set":{"weight":1}}`} {
		f.Add([]byte(s))
	}
	requests := []any{ListRequest{}, CountRequest{}, EventsRequest{}, HistoryRequest{}, WaitRequest{}, PayloadRequest{}, BulkRequest{}, HoldRequest{}, SetRequest{}, AddTokenRequest{}, AddSchedule{}, Type{},
		CancelRequest{}, RetryRequest{}, ResolveRequest{}, ResubmitRequest{}, ErrorsRequest{}, StatsRequest{}, BackfillRequest{}}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, zero := range requests {
			into := reflect.New(reflect.TypeOf(zero)).Interface()
			r := &request{body: bytes.Clone(body)}
			if err := r.decode(into); !usual(err) {
				t.Fatalf("%T: %v", zero, err)
			}
			if err := r.decodeStrictly(into); !usual(err) {
				t.Fatalf("%T: %v", zero, err)
			}
		}
		if spec, err := ledger.DecodeBatch(json.RawMessage(body)); err == nil {
			for i := range spec.Items {
				spec.Item(i)
			}
		}
	})
}
