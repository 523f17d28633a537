package handlers

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
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

// Bounds of one call.
const (
	dialMax         = 10 * time.Second // connecting; also the TLS handshake
	idleConnsMax    = 64               // kept open to the one host
	idleConnMax     = 30 * time.Second
	answerHeaderMax = 64 << 10 // bytes
	answerErrorMax  = 4 << 10  // bytes of an error's body kept for its message
)

// HTTP calls a service for each attempt: POST of the args JSON; an answer 2xx completes the job with its body
// as the result. What another answer means is in INTERFACE 2.6 and REQUIREMENTS 7. Redirects are answers
// like others, and not followed. One attempt sends at most one request. An answer in StreamType reports
// progress and saves checkpoints while the work goes on.
//
// An HTTP may make any number of calls at once; Close drops its idle connections.
type HTTP struct {
	// URL is the service, http or https. Required. A user and password in it become basic authentication.
	URL string
	// Secrets sign each request (header jobledger-signature), one v1 per secret, so that they can rotate.
	Secrets []string
	// AllowPrivate permits addresses that are not public: loopback, private and so on. They are refused otherwise, judged
	// after name resolution, at the moment of dialing. Link-local addresses, and others at which clouds hand out
	// credentials of the machine, are refused always.
	AllowPrivate bool
	// Logger takes complaints about answers. nil: they are dropped.
	Logger *zap.Logger

	once   sync.Once
	client *http.Client
}

// Validate reports a URL that no attempt could call.
func (h *HTTP) Validate() error {
	u, err := url.Parse(h.URL)
	if err != nil {
		return errors.New("http: the URL does not parse") // its text may hold a password
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("http: %q is not an http or https URL with a host", u.Redacted())
	}
	return nil
}

// Run implements Handler.
func (h *HTTP) Run(ctx context.Context, a *Attempt) (json.RawMessage, error) {
	if err := h.Validate(); err != nil {
		return nil, Permanent(err)
	}
	req, err := h.request(ctx, a)
	if err != nil {
		return nil, Permanent(err)
	}
	h.once.Do(h.connect)
	res, err := h.client.Do(req)
	if err != nil {
		return nil, callError(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		text, _ := io.ReadAll(io.LimitReader(res.Body, answerErrorMax)) // what came is worth keeping
		return nil, &StatusError{Status: res.StatusCode, Message: strings.TrimSpace(string(text)),
			RetryAfter: retryAfter(res.Header.Get("Retry-After"), time.Now())}
	}
	if isStream(res) {
		return h.stream(ctx, a, res.Body)
	}
	body := capped{max: schemas.PayloadMax}
	if _, err := io.Copy(&body, io.LimitReader(res.Body, schemas.PayloadMax+1)); err != nil {
		return nil, callError(ctx, fmt.Errorf("read the answer: %w", err))
	}
	if body.total > schemas.PayloadMax {
		return nil, &marked{err: fmt.Errorf("the answer is longer than %d bytes: a result has at most so many", schemas.PayloadMax),
			class: schemas.ClassPermanent, code: CodeInvalidResult}
	}
	return resultOf("the answer", &body, false)
}

// Close drops idle connections. Attempts may still run.
func (h *HTTP) Close() error {
	h.once.Do(h.connect)
	h.client.CloseIdleConnections()
	return nil
}

func (h *HTTP) connect() {
	dialer := &net.Dialer{Timeout: dialMax, Control: refusePrivate}
	if h.AllowPrivate {
		dialer.Control = refuseMetadata
	}
	h.client = &http.Client{
		// No proxy: it would resolve and dial where the guard cannot see.
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: dialMax, ForceAttemptHTTP2: true,
			MaxIdleConns: idleConnsMax, MaxIdleConnsPerHost: idleConnsMax, IdleConnTimeout: idleConnMax,
			MaxResponseHeaderBytes: answerHeaderMax,
			DisableCompression:     true, // the body is the result, byte for byte
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (h *HTTP) request(ctx context.Context, a *Attempt) (*http.Request, error) {
	body := a.args()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	put := func(name, value string) {
		if headerSafe(value) {
			req.Header.Set(name, value)
		}
	}
	put("Content-Type", "application/json")
	put("Accept", acceptTypes)
	put("User-Agent", "jobledger")
	put("ce-specversion", "1.0")
	put("ce-id", string(a.Fence.ID))
	put("ce-source", "/orgs/"+string(a.Org))
	put("ce-type", "jobledger."+schemas.Version+"."+string(schemas.EventRunning))
	put("ce-subject", string(a.ID))
	put("jobledger-type", string(a.Type))
	put("jobledger-attempt", strconv.Itoa(a.Number))
	put("jobledger-deadline", a.Deadline.UTC().Format(time.RFC3339Nano))
	put("jobledger-fence", a.Fence.Seq.String())
	put("traceparent", a.Traceparent)
	put("tracestate", a.Tracestate)
	// Under its canonical name this header would make net/http send the request again by itself when a kept
	// connection breaks after it was written. A second call is another attempt, and the ledger's decision.
	req.Header["idempotency-key"] = []string{a.Token}
	if len(h.Secrets) > 0 {
		req.Header.Set("jobledger-signature", Signature(h.Secrets, time.Now(), a.ID, a.Number, body))
	}
	h.addCheckpoint(req, a)
	return req, h.addParents(ctx, req, a)
}

// headerSafe reports a value that can stand in a header, and is not empty.
func headerSafe(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}

// Signature is the value of jobledger-signature, "t=UNIX,v1=HEX[,v1=HEX]": each v1 is the HMAC-SHA256, under
// one secret, of "t.jobid.attempt.body". Receivers compute it with theirs, compare in constant time with each
// v1, and reject a t that is older than 5 minutes.
func Signature(secrets []string, at time.Time, id schemas.JobID, attempt int, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	out := "t=" + t
	for _, secret := range secrets {
		m := hmac.New(sha256.New, []byte(secret))
		fmt.Fprintf(m, "%s.%s.%d.", t, id, attempt)
		m.Write(body)
		out += ",v1=" + hex.EncodeToString(m.Sum(nil))
	}
	return out
}

// callError judges a call that brought no answer: the network's failures are transient, what the guard or the
// URL refuses is permanent, and the end of ctx is not the service's doing.
func callError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the URL may hold what no log should
	}
	var refused *refusedError
	if errors.As(err, &refused) {
		return &marked{err: refused, class: schemas.ClassPermanent, code: CodeAddress}
	}
	m := &marked{err: fmt.Errorf("http: %w", err), class: schemas.ClassTransient}
	if _, m.code = kindOf(err); m.code == "" {
		m.code = CodeNetwork
	}
	return m
}

// retryAfter reads Retry-After: seconds or a date. 0 where there is none.
func retryAfter(value string, now time.Time) time.Duration {
	if s, err := strconv.ParseFloat(value, 64); err == nil && s > 0 {
		return secondsOf(s)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), schemas.RetryAfterMax)
	}
	return 0
}

// refusedError is an address that the guard did not dial.
type refusedError struct {
	addr   string
	always bool // whatever is allowed
}

// Error implements error.
func (e *refusedError) Error() string {
	if e.always {
		return "http: " + e.addr + " is a link-local address, or one at which a cloud hands out credentials: it is never called"
	}
	return "http: " + e.addr + " is not a public address: start the worker with --allow-private if it is meant"
}

// refusePrivate is called with each address just before it is dialed, so no later name lookup can change it.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	if ap, err := netip.ParseAddrPort(address); err == nil && publicAddr(ap.Addr()) {
		return nil
	}
	return &refusedError{addr: address}
}

// refuseMetadata is refusePrivate for a worker that may call private addresses.
func refuseMetadata(_, address string, _ syscall.RawConn) error {
	if ap, err := netip.ParseAddrPort(address); err == nil && !metadataAddr(ap.Addr()) {
		return nil
	}
	return &refusedError{addr: address, always: true}
}

// metadata are the addresses of cloud metadata services beside the link-local ones.
var metadata = prefixes("fd00:ec2::254/128", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32")

// metadataAddr reports an address at which a machine hears about itself.
func metadataAddr(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range metadata {
		if p.Contains(a) {
			return true
		}
	}
	in, ok := embedded(a)
	return ok && metadataAddr(in)
}

// embedded is the IPv4 address to which an IPv6 one leads.
func embedded(a netip.Addr) (netip.Addr, bool) {
	for p, at := range embedding {
		if p.Contains(a) {
			b := a.As16()
			return netip.AddrFrom4([4]byte(b[at : at+4])), true
		}
	}
	return netip.Addr{}, false
}

// nonPublic are the special-purpose ranges (IANA registries, RFC 6890) that Addr's own predicates leave open.
var nonPublic = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10")

// embedding are IPv6 ranges that lead to an IPv4 address inside them, at the byte given.
var embedding = map[netip.Prefix]int{
	netip.MustParsePrefix("64:ff9b::/96"): 12, // NAT64
	netip.MustParsePrefix("2002::/16"):    2,  // 6to4
}

func prefixes(all ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(all))
	for i, s := range all {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// publicAddr reports an address of the open internet.
func publicAddr(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range nonPublic {
		if p.Contains(a) {
			return false
		}
	}
	if in, ok := embedded(a); ok {
		return publicAddr(in)
	}
	return true
}
