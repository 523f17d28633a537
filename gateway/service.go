package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Bounds of the service.
const (
	// requestsMax is how many requests are worked on at once; further ones wait for their turn (turns.go).
	requestsMax = 256
	// waitsMax is how many long polls are held at once; a further one is refused with rate_limited.
	waitsMax = 8192
	// pendingMax and pendingBytes bound what of an endpoint has come and was not looked at yet, which takes microseconds. What is
	// dropped was not answered, hence unknown to its caller, who asks again.
	pendingMax   = 65_536
	pendingBytes = 128 << 20
	// requestTimeout ends the work on a request whose caller has long given up.
	requestTimeout = 30 * time.Second
	// stopWait is how long requests under way may take once the service stops.
	stopWait = 5 * time.Second
	// replyRoom is what a reply needs beside its body.
	replyRoom = 4 << 10
)

// Name of the micro service and prefix of its subjects.
const Name = "jobledger"

// Config says what the gateway serves.
type Config struct {
	// Ledger carries out the commands. Required.
	Ledger *ledger.Ledger
	// Conn takes the requests. Give it a connection of its own (ENGINE 10). Required.
	Conn *nats.Conn
	// Progress, if set, is the connection on which progress of attempts is heard; else Conn. One of its own keeps a flood of
	// it from requests.
	Progress *nats.Conn
	// Feed is the process's one tail; waits and the live feed ride on it. Required.
	Feed *ledger.Feed
	// Logger is required; use zap.NewNop() for none.
	Logger *zap.Logger
	// RegisterUnknown registers a type on its first submit, as dev does; else it is unknown_type.
	RegisterUnknown bool
	// Actor is who a caller is that nobody authenticated; the zero value names none.
	Actor schemas.Actor
	// Version of the program, as `nats service info` shows it: MAJOR.MINOR.PATCH; 0.0.0 if empty.
	Version string
	// Schedules tells how a schedule stands in the fold of this server's dispatcher. nil: what is told of its next
	// tick follows from its settings, and its last one is not told.
	Schedules func(ctx context.Context, org schemas.OrgID, name string) (dispatcher.ScheduleState, bool, error)
	// Index answers lists, searches and counts while it serves. nil: the KV views do.
	Index Index
	// Revoked, if set, is called with the id of a token that was revoked, and with none where some may have been missed: who
	// came with it is to be let go.
	Revoked func(token string)
	// Ready, if set, is called once requests are taken.
	Ready func()
}

func (c *Config) validate() error {
	switch {
	case c.Ledger == nil:
		return errors.New("gateway: Config.Ledger is required")
	case c.Conn == nil:
		return errors.New("gateway: Config.Conn is required")
	case c.Feed == nil:
		return errors.New("gateway: Config.Feed is required")
	case c.Logger == nil:
		return errors.New("gateway: Config.Logger is required")
	}
	if c.Version == "" {
		c.Version = "0.0.0"
	}
	return nil
}

// Gateway serves commands and reads.
type Gateway struct {
	cfg     Config
	log     *zap.Logger
	l       *ledger.Ledger
	views   views
	all     []*endpoint
	verbs   verbs
	door    *doorkeeper
	paces   *paces
	waiters waiters
	live    *Live
	turns   *turns        // of requests
	seats   *seats        // of long polls
	large   chan struct{} // one token a submit with large args
	running sync.WaitGroup
	taking  sync.Mutex
	stopped bool // nothing is added to running any more

	mu   sync.RWMutex
	open context.Context // while requests over HTTP are taken: it ends the waits; nil: they are not
	over context.Context // ends requests over HTTP that take longer than the gateway stops
	// since is when it began to take requests.
	since time.Time
}

// New returns a gateway. It does not talk to the server.
func New(cfg Config) (*Gateway, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Progress == nil {
		cfg.Progress = cfg.Conn
	}
	g := &Gateway{cfg: cfg, log: cfg.Logger, l: cfg.Ledger, live: newLive(cfg.Ledger, cfg.Feed, cfg.Progress, cfg.Logger), views: &kvViews{l: cfg.Ledger}, door: newDoorkeeper(cfg.Ledger), paces: newPaces(),
		turns: newTurns(requestsMax), seats: newSeats(), large: make(chan struct{}, largeMax)}
	g.live.alerts.open, g.live.alerts.largest = g.openDeadLetters, g.largestGroup
	g.all = g.endpoints()
	g.verbs = verbsOf(g.all)
	return g, nil
}

// Run serves until ctx ends, then takes no more requests, answers the waits, lets the others end within
// stopWait, and returns nil. Call it once. The error is that of an endpoint that cannot be registered.
func (g *Gateway) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	watching, guarding, followed := make(chan struct{}), make(chan struct{}), make(chan error, 3)
	follows := []func() error{
		func() error { return g.waiters.watch(ctx, g.cfg.Feed, func() { close(watching) }) },
		func() error { return g.watchTokens(ctx, func() { close(guarding) }) },
		func() error { return g.live.run(ctx) },
	}
	for _, follow := range follows {
		go func() {
			err := follow()
			if ctx.Err() != nil {
				err = nil
			}
			cancel()
			followed <- err
		}()
	}
	ended := func() (err error) {
		cancel()
		for range follows {
			err = errors.Join(err, <-followed)
		}
		return err
	}
	for _, ready := range []chan struct{}{watching, guarding} {
		select {
		case <-ready: // from here no finished job, and no revoked token, is missed
		case <-ctx.Done():
			return ended()
		}
	}
	return errors.Join(g.serveUntil(ctx), ended())
}

// Live is the server's live feed. It works while Run does.
func (g *Gateway) Live() *Live { return g.live }

// serveUntil takes requests while ctx lasts.
func (g *Gateway) serveUntil(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	s, err := g.serve(ctx, work)
	if err != nil {
		return err
	}
	// The registrations are only on their way: until the server has them, who asks on another connection finds
	// nobody. A connection that is away for the moment sends them when it is back.
	flushing, flushed := context.WithTimeout(ctx, stopWait)
	if err := g.cfg.Conn.FlushWithContext(flushing); err != nil && ctx.Err() == nil {
		g.log.Warn("the command service is not yet known to the server", zap.Error(err))
	}
	flushed()
	g.log.Info("the command service takes requests", zap.String("service", Name), zap.String("id", s.Info().ID))
	g.opened(ctx, work)
	if g.cfg.Ready != nil {
		g.cfg.Ready()
	}
	<-ctx.Done()
	g.closed()
	err = s.Stop()
	late := time.AfterFunc(stopWait, stop)
	defer late.Stop()
	// The endpoints' ends are only on their way: until the server has them, it hands out requests that nobody takes any more,
	// whose senders would wait for their timeout, and not know.
	leaving, left := context.WithTimeout(work, stopWait)
	_ = g.cfg.Conn.FlushWithContext(leaving) // a connection that is away takes nothing either
	left()
	g.turns.close()
	g.taking.Lock()
	g.stopped = true
	g.taking.Unlock()
	g.running.Wait()
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("stop the command service: %w", err)
	}
	return nil
}

// opened has requests over HTTP be taken, until closed; their waits end with ctx, all others with work.
func (g *Gateway) opened(ctx, work context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open, g.over, g.since = ctx, work, time.Now()
}

// takes reports whether requests over HTTP are taken.
func (g *Gateway) takes() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.open != nil
}

func (g *Gateway) closed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = nil
}

// serve registers the service. waitCtx ends the waits, work the other requests.
func (g *Gateway) serve(waitCtx, work context.Context) (micro.Service, error) {
	byName := map[string]*endpoint{}
	s, err := micro.AddService(g.cfg.Conn, micro.Config{
		Name: Name, Version: g.cfg.Version, Description: "jobledger's commands and reads",
		StatsHandler: func(e *micro.Endpoint) any {
			ep := byName[e.Name]
			if ep == nil {
				return nil
			}
			return map[string]int64{"answered": ep.stats.answered.Load(), "failed": ep.stats.failed.Load(), "micros": ep.stats.micros.Load()}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("register service %s: %w", Name, err)
	}
	for _, ep := range g.all {
		byName[ep.name] = ep
	}
	for _, ep := range g.all {
		ctx := work
		if ep.waits {
			ctx = waitCtx
		}
		err := s.AddEndpoint(ep.name, micro.HandlerFunc(func(m micro.Request) { g.take(ctx, ep, newRequest(m, m.Subject())) }),
			micro.WithEndpointSubject(Name+".*."+ep.pattern),
			micro.WithEndpointMetadata(map[string]string{"about": ep.about}),
			micro.WithEndpointPendingLimits(pendingMax, pendingBytes))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("register endpoint %s: %w", ep.name, err), s.Stop())
		}
	}
	err = s.AddEndpoint("tenants", micro.HandlerFunc(func(m micro.Request) { g.takeTenant(waitCtx, work, m) }),
		micro.WithEndpointSubject(NameAs+".*.*.>"),
		micro.WithEndpointMetadata(map[string]string{"about": "all verbs, for the accounts of tenants"}),
		micro.WithEndpointPendingLimits(pendingMax, pendingBytes))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("register the endpoint of tenants: %w", err), s.Stop())
	}
	return s, nil
}

// take hands a request over to a goroutine of its own once it has its turn, for micro calls an endpoint's handler one by one
// (ENGINE 10).
func (g *Gateway) take(ctx context.Context, ep *endpoint, r *request) {
	if ep.waits {
		if !g.seats.take(r.org) {
			g.answer(ep, r, nil, errNoSeat)
			return
		}
		g.begin(ctx, ep, r, func() { g.seats.leave(r.org) })
		return
	}
	who := asker{org: r.org, caller: r.account}
	began := g.turns.take(who, len(r.body), func(leave func()) {
		if leave == nil {
			g.answer(ep, r, nil, errStops)
			return
		}
		g.begin(ctx, ep, r, leave)
	})
	if !began {
		g.crowded(ep, r)
	}
}

// begin serves a request beside, and calls leave at its end.
func (g *Gateway) begin(ctx context.Context, ep *endpoint, r *request, leave func()) {
	g.taking.Lock()
	if g.stopped { // it came while the service stopped
		g.taking.Unlock()
		leave()
		g.answer(ep, r, nil, errStops)
		return
	}
	defer g.taking.Unlock()
	g.running.Go(func() {
		defer leave()
		serve := g.run
		if r.account != "" {
			serve = g.asTenant
		}
		body, err := serve(ctx, ep, r)
		g.answer(ep, r, body, err)
	})
}

// run calls the handler; a panic in it costs one request, not the server.
func (g *Gateway) run(ctx context.Context, ep *endpoint, r *request) (body []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("a request panicked", zap.String("endpoint", ep.name), zap.String("request_id", r.id), zap.Any("panic", p), zap.Stack("stack"))
			err = ledger.Errorf(ledger.CodeInternal, "the request failed inside the server")
		}
	}()
	if err := r.check(); err != nil {
		return nil, err
	}
	if !ep.waits {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, requestTimeout)
		defer cancel()
	}
	if err := g.authorize(ctx, ep, r); err != nil {
		return nil, err
	}
	return ep.handle(ctx, r)
}

// request is one call, taken apart. The body is shared with nobody.
type request struct {
	org     schemas.OrgID
	name    string // what stands behind the verb: a type or job id; empty for list and count
	headers nats.Header
	body    []byte
	reply   string
	id      string
	start   time.Time
	left    callsLeft // of a caller whose calls are counted
	account string    // of the tenant who asks; empty: somebody in the ledger's own
	counted bool      // it was counted before
}

// newRequest reads a request as the subject jobledger.<org>.<verb>[.<name>] has it.
func newRequest(m micro.Request, subject string) *request {
	r := &request{headers: nats.Header(m.Headers()), body: m.Data(), reply: m.Reply(), start: time.Now()}
	tokens := strings.Split(subject, ".")
	r.org = schemas.OrgID(tokens[1])
	if len(tokens) > 3 {
		r.name = tokens[len(tokens)-1]
	}
	if r.id = options(r.headers).one(HeaderRequestID); schemas.CheckToken("request id", r.id) != nil {
		r.id = uuid.NewString()
	}
	return r
}

// check refuses names that no job or type can have; the pattern of the subject has done the rest.
func (r *request) check() error {
	if err := schemas.CheckToken("org", string(r.org)); err != nil && r.org != cellOrg {
		return badField("org", err)
	}
	if r.name == "" {
		return nil
	}
	if err := schemas.CheckToken("name", r.name); err != nil {
		return badField("name", err)
	}
	return nil
}

func (r *request) job() schemas.JobID { return schemas.JobID(r.name) }

// decode reads the body into v; an empty body leaves v as it is.
func (r *request) decode(v any) error {
	if len(r.body) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.body, v); err != nil {
		return ledger.Errorf(ledger.CodeInvalidArgument, "the body cannot be read: %v", err)
	}
	return nil
}

// decodeStrictly is decode for requests where a field that is not known, or misspelled, must not be passed over.
func (r *request) decodeStrictly(v any) error {
	if len(r.body) == 0 {
		return nil
	}
	return decodeStrictly(r.body, v)
}

func decodeStrictly(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return ledger.Errorf(ledger.CodeInvalidArgument, "the body cannot be read: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return ledger.Errorf(ledger.CodeInvalidArgument, "the body cannot be read: something stands behind it")
	}
	return nil
}

// envelope is the body of an error (INTERFACE 3).
type envelope struct {
	Error envelopeError `json:"error"`
}

type envelopeError struct {
	Code      ledger.Code    `json:"code"`
	Message   string         `json:"message"`
	Details   map[string]any `json:"details"`
	RequestID string         `json:"request_id"`
}

// answer replies, unless nobody asked for one. What failed inside is logged; what the caller did wrong is
// the caller's.
func (g *Gateway) answer(ep *endpoint, r *request, body []byte, err error) {
	m := &nats.Msg{Subject: r.reply, Data: body}
	if limit := int(g.cfg.Conn.MaxPayload()) - replyRoom; err == nil && len(body) > limit {
		err = ledger.Errorf(ledger.CodePayloadTooLarge, "the reply is %d bytes, above the server's max_payload of %d", len(body), limit+replyRoom)
	}
	ep.stats.answered.Add(1)
	ep.stats.micros.Add(time.Since(r.start).Microseconds())
	if err != nil {
		ep.stats.failed.Add(1)
		e := ledger.AsError(err)
		if e.Code == ledger.CodeInternal || e.Code == ledger.CodeUnavailable || r.reply == "" { // nobody else hears of it
			g.log.Warn("a request failed", zap.String("endpoint", ep.name), zap.String("org", string(r.org)),
				zap.String("name", r.name), zap.String("request_id", r.id), zap.Error(err))
		}
		m = errorReply(r, e)
	}
	if r.reply == "" {
		return
	}
	if err := g.cfg.Conn.PublishMsg(m); err != nil {
		g.log.Warn("a reply could not be sent", zap.String("endpoint", ep.name), zap.String("request_id", r.id), zap.Error(err))
	}
}

func errorReply(r *request, e *ledger.Error) *nats.Msg {
	message := e.Message
	if e.Field != "" {
		message = e.Field + ": " + message
	}
	body := errorBody(r.id, e)
	h := nats.Header{
		micro.ErrorHeader:     {strings.Map(printable, message)},
		micro.ErrorCodeHeader: {strconv.Itoa(e.Code.Status())},
	}
	return &nats.Msg{Subject: r.reply, Header: h, Data: body}
}

// errorBody is the envelope of an error.
func errorBody(id string, e *ledger.Error) []byte {
	message := e.Message
	if e.Field != "" {
		message = e.Field + ": " + message
	}
	body, err := json.Marshal(envelope{envelopeError{Code: e.Code, Message: message, Details: e.Details, RequestID: id}})
	if err != nil { // details of an unknown kind
		body, _ = json.Marshal(envelope{envelopeError{Code: e.Code, Message: message, RequestID: id}})
	}
	return body
}

// printable keeps what a header may hold.
func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return ' '
	}
	return r
}
