package gateway

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A browser logs in with a token and keeps it in a cookie that no script can read. Nothing is stored on the server: the cookie
// opens what the token opens, on any server, and dies with it.
const (
	loginCookie = "jobledger_login"
	// hostPrefix begins the cookie's name where TLS is spoken: a browser takes it from this host alone, so that neither a
	// neighbouring one nor who answers without TLS can put another in its place.
	hostPrefix = "__Host-"
	// loginFor is how long a browser keeps the cookie.
	loginFor = 12 * time.Hour
	// csrfHeader names the proof that a request comes from the console's own page: another site can make a browser send the
	// cookie, but cannot read what /v1/me says.
	csrfHeader = "X-CSRF-Token"
	// loginsMax is how often a minute one address may try one token, and all ids together that no token has.
	loginsMax = 10
	// triesMax bounds the keys whose tries are counted, of a minute.
	triesMax = 10_000
	// loginBody bounds the body of a login.
	loginBody = 4 << 10
)

// How a caller got in, as Me tells.
const (
	loginToken  = "token"
	loginByPage = "cookie"
	loginNone   = "none"
)

// LoginRequest logs a browser in.
type LoginRequest struct {
	Token string `json:"token"`
}

// Me is who the caller is and what he may do.
type Me struct {
	Principal string `json:"principal"`
	// Org is the one that was asked about with ?org=, else the caller's own; null: he has a right to every org, and none was named.
	Org  *schemas.OrgID `json:"org"`
	Role schemas.Role   `json:"role"` // in Org
	// Orgs are those in which the caller has a role; of the role admin is one with org null, which is every org.
	Orgs []MyOrg `json:"orgs"`
	// Rights are the actions that the caller may do in Org at all; Reach says whose jobs each touches (docs/RIGHTS.md).
	Rights []rights.Action                `json:"rights"`
	Reach  map[rights.Action]rights.Reach `json:"reach"`
	// Login is token, cookie, or none: on this server who comes from this machine needs no login.
	Login string `json:"login"`
	// CSRFToken has to stand in the header X-CSRF-Token of whatever changes something; null without a cookie.
	CSRFToken *string `json:"csrf_token"`
	// Environment is what this installation is called, such as dev or production; empty: nobody said.
	Environment string `json:"environment"`
	// TraceLink is where a trace is looked at, with {trace_id} where a record's trace_id belongs; null: nobody said.
	TraceLink *string `json:"trace_link"`
	Version   string  `json:"version"`
}

// MyOrg is one role of a caller.
type MyOrg struct {
	Org         *schemas.OrgID `json:"org"`
	Role        schemas.Role   `json:"role"`
	Permissions []string       `json:"permissions"`
}

// ownRoute is a part of the API that only makes sense over HTTP, so that no endpoint stands behind it.
type ownRoute struct {
	pattern, about string
	query          []string
	action         rights.Action // that it asks for; empty: none
	takes, gives   any           // gives nil: the answer has no body, or lines
	lines          any           // what each line of the answer is
	serve          func(h *httpAPI, w http.ResponseWriter, r *http.Request) error
}

var ownRoutes = []ownRoute{
	{pattern: "GET /v1/me", about: "who one is, and what one may do", query: []string{"org"}, gives: Me{}, serve: (*httpAPI).me},
	{pattern: "GET /v1/log", about: "the ledger's events between two bounds, one a line", action: rights.LogRead, query: logParams, lines: ledger.HistoryLine{}, serve: (*httpAPI).replayLog},
	{pattern: "POST /v1/login", about: "log a browser in, with a token: the answer sets a cookie", takes: LoginRequest{}, gives: Me{}, serve: (*httpAPI).login},
	{pattern: "DELETE /v1/login", about: "log a browser out", serve: (*httpAPI).logout},
}

// own serves one of them.
func (h *httpAPI) own(rt ownRoute) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := requestID(r)
		w.Header().Set("X-Request-Id", id)
		ctx, leave, err := h.g.admit(r.Context(), &endpoint{})
		if err == nil {
			defer leave()
			err = rt.serve(h, w, r.WithContext(ctx))
		}
		if err != nil {
			h.refuse(w, id, err)
		}
	}
}

// login checks a token and has the browser keep it.
func (h *httpAPI) login(w http.ResponseWriter, r *http.Request) error {
	if err := known(r.URL.Query(), nil); err != nil {
		return err
	}
	body, err := readAll(http.MaxBytesReader(w, r.Body, loginBody), r.ContentLength, loginBody)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return ledger.Errorf(ledger.CodePayloadTooLarge, "the body is above %d bytes", loginBody)
	}
	if err != nil {
		return ledger.Errorf(ledger.CodeInvalidArgument, "the body cannot be read: %v", err)
	}
	var req LoginRequest
	if err := (&request{body: body}).decodeStrictly(&req); err != nil {
		return err
	}
	secret := strings.TrimSpace(req.Token)
	id := tokenID(secret)
	if id != "" && !h.g.door.made(id) {
		id = "" // the caller may choose as many as he likes
	}
	if !h.logins.allow(address(r) + " " + id) {
		err := ledger.Errorf(ledger.CodeRateLimited, "too many logins from here: wait a minute")
		err.Details = map[string]any{"retry_after_s": 60}
		return err
	}
	p, err := h.g.door.recognise(r.Context(), secret)
	if err != nil {
		return err
	}
	http.SetCookie(w, cookie(r, secret, loginFor))
	return h.tell(w, recognised{Principal: p, how: loginByPage, secret: secret}, "")
}

// cookie is what holds a browser's token; of no age it takes it away. Its path is the root, as hostPrefix asks.
func cookie(r *http.Request, secret string, age time.Duration) *http.Cookie {
	c := &http.Cookie{Name: cookieName(r), Value: secret, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: int(age / time.Second), Secure: secure(r)}
	if age == 0 {
		c.MaxAge = -1
	}
	return c
}

// secure reports whether the browser speaks TLS, with us or with a proxy before us.
func secure(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

func cookieName(r *http.Request) string {
	if secure(r) {
		return hostPrefix + loginCookie
	}
	return loginCookie
}

// shown returns the secret in the cookie of a request, empty for none. One of two was set by somebody else, and nothing says which.
func shown(r *http.Request) (string, error) {
	switch all := r.CookiesNamed(cookieName(r)); len(all) {
	case 0:
		return "", nil
	case 1:
		return all[0].Value, nil
	default:
		return "", ledger.Errorf(ledger.CodeUnauthenticated, "the cookie %s is there twice: remove this site's cookies, and log in again", cookieName(r))
	}
}

// logout takes the cookie away, also one that opens nothing any more.
func (h *httpAPI) logout(w http.ResponseWriter, r *http.Request) error {
	if _, err := h.enter(r); err != nil && ledger.AsError(err).Code == ledger.CodePermissionDenied {
		return err // another site's doing
	}
	http.SetCookie(w, cookie(r, "", 0))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// me tells the caller who he is. Whoever gets in may ask.
func (h *httpAPI) me(w http.ResponseWriter, r *http.Request) error {
	who, err := h.recognise(r)
	if err != nil {
		return err
	}
	if err := known(r.URL.Query(), []string{"org"}); err != nil {
		return err
	}
	org := schemas.OrgID(r.URL.Query().Get("org"))
	if org != "" {
		if err := schemas.CheckToken("org", string(org)); err != nil {
			return badField("org", err)
		}
	}
	return h.tell(w, who, org)
}

func (h *httpAPI) tell(w http.ResponseWriter, who recognised, org schemas.OrgID) error {
	p := who.Principal
	me := Me{Principal: p.Actor.String(), Orgs: []MyOrg{}, Rights: []rights.Action{}, Reach: map[rights.Action]rights.Reach{}, Login: who.how,
		Environment: h.cfg.Environment, Version: h.g.cfg.Version}
	if h.cfg.TraceLink != "" {
		me.TraceLink = &h.cfg.TraceLink
	}
	for _, grant := range p.Grants {
		mine := MyOrg{Role: grant.Role, Permissions: grant.Permissions}
		if grant.Org != "" {
			mine.Org = &grant.Org
		}
		me.Orgs = append(me.Orgs, mine)
	}
	if org == "" && len(p.Grants) > 0 {
		org = cmp.Or(p.Grants[0].Org, h.cfg.Org)
	}
	if org != "" {
		me.Org = &org
	}
	asked := cmp.Or(org, cellOrg)
	if grant := p.In(asked); grant != nil {
		me.Role = grant.Role
	}
	for _, a := range rights.Actions() {
		if reach := rights.Decide(p, a, asked); reach != rights.None {
			me.Rights = append(me.Rights, a)
			me.Reach[a] = reach
		}
	}
	slices.Sort(me.Rights)
	if who.how == loginByPage {
		proof := csrfOf(who.secret)
		me.CSRFToken = &proof
	}
	body, err := json.Marshal(&me)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, body)
	return nil
}

// csrfOf is the proof that goes with a cookie. It cannot be made from what the ledger stores of a token.
func csrfOf(secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("jobledger csrf"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// proven refuses what changes something and does not show the proof that goes with its cookie.
func proven(r *http.Request, secret string) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(csrfHeader)), []byte(csrfOf(secret))) != 1 {
		return ledger.Errorf(ledger.CodePermissionDenied, "the header %s is missing or not that of this login: GET /v1/me tells it", csrfHeader)
	}
	return nil
}

// address is where a request comes from, as far as it tells callers apart: of IPv6 the network of a subscriber.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if a = a.Unmap(); a.Is6() {
		if net, err := a.WithZone("").Prefix(64); err == nil {
			return net.String()
		}
	}
	return a.String()
}

// tries bounds how often something may be tried, by a key of the caller. A key that was not tried for a minute is as new, so
// that it may be forgotten: all that are as old are, at once, as their map is let go of.
type tries struct {
	mu      sync.Mutex
	by, was map[string]*rate.Limiter // tried since turned, and since the minute or more before it
	turned  time.Time
	now     func() time.Time
}

func newTries() *tries { return &tries{by: map[string]*rate.Limiter{}, now: time.Now} }

// allow counts one try. Where triesMax keys are remembered another one is let through uncounted: no secret is guessed by
// trying it often, but whoever fills the map would keep others out.
func (t *tries) allow(key string) bool {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.turned) >= time.Minute {
		t.by, t.was, t.turned = map[string]*rate.Limiter{}, t.by, now
	}
	one := t.by[key]
	if one == nil {
		if len(t.by) >= triesMax {
			return true
		}
		if one = t.was[key]; one == nil {
			one = rate.NewLimiter(rate.Limit(loginsMax)/60, loginsMax)
		}
		t.by[key] = one
	}
	return one.AllowN(now, 1)
}
