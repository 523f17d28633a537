package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// bodyMax bounds the body of an HTTP request (INTERFACE 3).
	bodyMax = 2 << 20
	// retryAfter is what a caller is told to wait whom a limit refused, or a server that is not ready.
	retryAfter = time.Second
	// cellOrg stands where a request names no org: no org can be called so, for a name has no dot, and no subject either.
	cellOrg = "."
)

// HTTPConfig says who gets in over HTTP.
type HTTPConfig struct {
	// Anyone is whom a caller without a token is taken for; nil: nobody, a token is required. For `dev` on loopback alone:
	// such a caller is refused if it comes from elsewhere, or for another host name than the loopback's.
	Anyone *rights.Principal
	// Environment is what this installation is called for people, such as production; Org where a caller begins who has a right to
	// every org. Both may be empty; GET /v1/me tells them.
	Environment string
	Org         schemas.OrgID
	// TraceLink is where people look at traces, with {trace_id} in it; may be empty. GET /v1/me tells it.
	TraceLink string
}

// HTTP returns the API of INTERFACE 3, below /v1. It serves the same endpoints as the NATS service, as long as Run runs.
func (g *Gateway) HTTP(cfg HTTPConfig) http.Handler {
	h := &httpAPI{g: g, cfg: cfg, verbs: map[string]*endpoint{}, logins: newTries(), exports: exports{by: map[memberKey]int{}}}
	for _, ep := range g.all {
		h.verbs[ep.name] = ep
	}
	mux := http.NewServeMux()
	for _, rt := range routes {
		mux.Handle(rt.pattern, h.route(rt))
	}
	for _, rt := range ownRoutes {
		mux.HandleFunc(rt.pattern, h.own(rt))
	}
	for _, pattern := range streams {
		mux.HandleFunc(pattern, h.events)
	}
	mux.HandleFunc("GET /v1/openapi.json", document(OpenAPI))
	mux.HandleFunc("GET /v1/asyncapi.json", document(AsyncAPI))
	mux.HandleFunc("GET /v1/schemas/{name}", h.eventSchema)
	mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		h.refuse(w, requestID(r), ledger.Errorf(ledger.CodeNotFound, "there is no %s %s", r.Method, r.URL.Path))
	})
	// A page of another site may make a browser send requests, to loopback too; it cannot make it send a token.
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.refuse(w, requestID(r), ledger.Errorf(ledger.CodePermissionDenied, "a page of another site may not change anything here"))
	}))
	return guard.Handler(mux)
}

// httpAPI serves the endpoints over HTTP.
type httpAPI struct {
	g       *Gateway
	cfg     HTTPConfig
	verbs   map[string]*endpoint
	logins  *tries
	exports exports
}

// route is one line of the API: what of an HTTP request goes into the endpoint's.
type route struct {
	pattern  string // of http.ServeMux; {org} and {name} go into the request
	endpoint string
	query    []string // the parameters that are read; where the path names no org, org is one of them
	// fill puts together the endpoint's body and headers; nil: they are the HTTP request's body, and none.
	fill func(in *httpRequest) error
	// status of what was done; 0: 200. reply looks at the body of the answer.
	status func(body []byte) int
	// streams serves what asks for another form of the answer than JSON; it returns nil for what does not. nil: there is none.
	streams func(in *httpRequest) streamed
	media   string // of that form

	takes, gives any // zero values of what the bodies are
}

// params are the parameters of the query that a route reads.
func (rt *route) params() []string {
	if strings.Contains(rt.pattern, "{org}") {
		return rt.query
	}
	return append([]string{"org"}, rt.query...)
}

// httpRequest is a request on its way from HTTP to an endpoint.
type httpRequest struct {
	*http.Request
	*request
	asked []string // the parameters that its route reads
	taken any      // the body as its route takes it: a pointer; nil if it takes none
}

func (h *httpAPI) route(rt route) http.Handler {
	ep := h.verbs[rt.endpoint]
	if ep == nil {
		panic("gateway: route " + rt.pattern + " names no endpoint: " + rt.endpoint)
	}
	params := rt.params()
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		id := requestID(hr)
		w.Header().Set("X-Request-Id", id)
		in := &httpRequest{Request: hr, asked: rt.query, request: &request{org: schemas.OrgID(hr.PathValue("org")), name: hr.PathValue("name"), id: id, reply: "http",
			headers: nats.Header{}, start: time.Now()}}
		if in.org == "" {
			in.org = schemas.OrgID(cmp.Or(hr.URL.Query().Get("org"), cellOrg))
		}
		use := ep
		ctx, err := h.prepare(w, in, &rt, params)
		var body []byte
		if err == nil && rt.streams != nil {
			if serve := rt.streams(in); serve != nil {
				if err = h.exportOf(ctx, ep, w, in, serve); err == nil {
					ep.stats.answered.Add(1)
					return
				}
			}
		}
		if err == nil {
			if in.Request.URL.Query().Has("wait") && rt.endpoint == "get" {
				use = h.verbs["wait"]
			}
			body, err = h.g.serveOne(ctx, use, in.request)
			if err == nil && use.waits { // the right may have gone while it waited
				_, err = h.enter(hr)
			}
		}
		in.left.headers(w.Header().Set)
		use.stats.answered.Add(1)
		use.stats.micros.Add(time.Since(in.start).Microseconds())
		if err != nil {
			use.stats.failed.Add(1)
			h.refuse(w, id, err)
			return
		}
		status := http.StatusOK
		if rt.status != nil {
			status = rt.status(body)
		}
		if use.waits && !finished(body) {
			status = http.StatusAccepted
		}
		if rt.endpoint == "submit" || rt.endpoint == "batch" {
			var made SubmitReply
			if json.Unmarshal(body, &made) == nil {
				w.Header().Set("Location", "/v1/orgs/"+string(made.Org)+"/jobs/"+string(made.ID))
			}
		}
		writeJSON(w, status, body)
	})
}

// prepare recognises the caller and makes of his request, which may have params, the endpoint's.
func (h *httpAPI) prepare(w http.ResponseWriter, in *httpRequest, rt *route, params []string) (context.Context, error) {
	ctx, err := h.enter(in.Request)
	if err == nil {
		err = in.read(w)
	}
	if err == nil {
		err = known(in.URL.Query(), params)
	}
	if err == nil && rt.takes != nil { // a slip in a name must not be passed over
		in.taken = reflect.New(reflect.TypeOf(rt.takes)).Interface()
		err = in.decodeStrictly(in.taken)
	}
	if err == nil && rt.fill != nil {
		err = rt.fill(in)
	}
	return ctx, err
}

// serveOne takes a place for a request and carries it out.
func (g *Gateway) serveOne(ctx context.Context, ep *endpoint, r *request) ([]byte, error) {
	ctx, end, err := g.admit(ctx, ep)
	if err != nil {
		return nil, err
	}
	defer end()
	who := askerOf(caller(ctx), r.org)
	if ep.waits {
		if !g.seats.take(who.org) {
			return nil, errNoSeat
		}
		defer g.seats.leave(who.org)
		return g.run(ctx, ep, r)
	}
	turn := make(chan func(), 1)
	if !g.turns.take(who, len(r.body), func(leave func()) { turn <- leave }) {
		return nil, errCrowded
	}
	select {
	case leave := <-turn:
		if leave == nil {
			return nil, errClosed
		}
		defer leave()
		return g.run(ctx, ep, r)
	case <-ctx.Done():
		go func() { // until then it stands in its line, as what it sent does in memory
			if leave := <-turn; leave != nil {
				leave()
			}
		}()
		return nil, ctx.Err()
	}
}

// errClosed is the answer while Run does not run.
var errClosed = ledger.Errorf(ledger.CodeUnavailable, "this server takes no requests: it is starting, or about to stop")

// admit counts a request as under way while the gateway runs. A wait ends with the gateway; any other goes on to its end.
func (g *Gateway) admit(ctx context.Context, ep *endpoint) (in context.Context, leave func(), err error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.open == nil {
		return nil, nil, errClosed
	}
	g.running.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	until := g.over
	if ep.waits {
		until = g.open
	}
	release := context.AfterFunc(until, cancel)
	return ctx, func() { release(); cancel(); g.running.Done() }, nil
}

// enter recognises the caller.
func (h *httpAPI) enter(r *http.Request) (context.Context, error) {
	who, err := h.recognise(r)
	if err != nil {
		return nil, err
	}
	return withCaller(r.Context(), who.Principal), nil
}

// recognised is a caller, and what he showed.
type recognised struct {
	*rights.Principal
	how    string // as Me tells
	secret string // of a cookie
}

// recognise finds out who calls: by a token, by the cookie of a login, or, where that is enough, by where he comes from.
func (h *httpAPI) recognise(r *http.Request) (recognised, error) {
	const scheme = "Bearer "
	auth := r.Header.Get("Authorization")
	if len(auth) > len(scheme) && strings.EqualFold(auth[:len(scheme)], scheme) {
		p, err := h.g.door.recognise(r.Context(), strings.TrimSpace(auth[len(scheme):]))
		return recognised{Principal: p, how: loginToken}, err
	}
	if auth != "" {
		return recognised{}, ledger.Errorf(ledger.CodeUnauthenticated, "the Authorization header is not of the form: Bearer <token>")
	}
	secret, err := shown(r)
	if err != nil {
		return recognised{}, err
	}
	if secret != "" {
		p, err := h.g.door.recognise(r.Context(), secret)
		switch {
		case err == nil:
			return recognised{Principal: p, how: loginByPage, secret: secret}, proven(r, secret)
		case ledger.AsError(err).Code != ledger.CodeUnauthenticated:
			return recognised{}, err
		}
	} // one that opens nothing any more is as none
	switch {
	case h.cfg.Anyone == nil:
		return recognised{}, ledger.Errorf(ledger.CodeUnauthenticated, "a token is required: Authorization: Bearer <token>, or a login")
	case !loopback(r):
		return recognised{}, ledger.Errorf(ledger.CodeUnauthenticated, "without a token only this machine gets in, by a name of its own: localhost or 127.0.0.1")
	}
	return recognised{Principal: h.cfg.Anyone, how: loginNone}, nil
}

// read takes the body, within its bound.
func (in *httpRequest) read(w http.ResponseWriter) error {
	if in.Method == http.MethodGet || in.Method == http.MethodHead {
		return nil
	}
	body, err := readAll(http.MaxBytesReader(w, in.Body, bodyMax), in.ContentLength, bodyMax)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return ledger.Errorf(ledger.CodePayloadTooLarge, "the body is above %d bytes", bodyMax)
		}
		return ledger.Errorf(ledger.CodeInvalidArgument, "the body cannot be read: %v", err)
	}
	in.body = body
	return nil
}

// requestID is the caller's name for the request, if it is one, else a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); schemas.CheckToken("request id", id) == nil {
		return id
	}
	return uuid.NewString()
}

// refuse answers with the error's envelope.
func (h *httpAPI) refuse(w http.ResponseWriter, id string, err error) {
	e := ledger.AsError(err)
	if e.Code == ledger.CodeInternal || e.Code == ledger.CodeUnavailable {
		h.g.log.Warn("a request failed", zap.String("request_id", id), zap.Error(err))
	}
	header := w.Header()
	header.Set("X-Request-Id", id)
	switch e.Code {
	case ledger.CodeUnauthenticated:
		header.Set("WWW-Authenticate", `Bearer realm="jobledger"`)
	case ledger.CodeRateLimited, ledger.CodeQueueFull, ledger.CodeUnavailable:
		wait := int(retryAfter / time.Second)
		if s, ok := e.Details["retry_after_s"].(int); ok {
			wait = s
		}
		header.Set("Retry-After", strconv.Itoa(wait))
	}
	writeJSON(w, e.Code.Status(), errorBody(id, e))
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // who does not read on has gone
}

// finished reports whether a record tells of a job that has ended.
func finished(record []byte) bool {
	var j struct {
		State schemas.State `json:"state"`
	}
	return json.Unmarshal(record, &j) == nil && j.State.Finished()
}
