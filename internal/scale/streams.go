package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	streamsMax    = 10_000
	streamsOrg    = schemas.OrgID("watched")
	streamsEvents = 20              // that all of them see
	streamsDialed = 128             // connections that are made at once
	streamsRetry  = time.Second     // as the server asks its clients to
	streamsSilent = 5 * time.Minute // without what is waited for
)

// streams: as many clients as there are jobs, 10,000 at most, follow an org over HTTP. What each costs the server, how soon
// they see what happens, and how soon all of them go on after the server was killed, without a gap.
func streams(ctx context.Context, b *bed) error {
	if b.http == "" {
		b.say("the server has no HTTP: not measured")
		return nil
	}
	if err := b.registerType(ctx, schemas.TypeSettings{}); err != nil {
		return err
	}
	client := &gateway.Client{Conn: b.look.Conn(), Org: streamsOrg}
	token, err := client.AddToken(ctx, streamsOrg, gateway.AddTokenRequest{Title: "scale", Role: schemas.RoleOperator, Reason: "measured"})
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	a := &audience{address: b.http, secret: token.Secret, seen: make(chan struct{}, 1)}
	n := min(streamsMax, b.jobs)
	before, _ := b.server.memory()
	if err := a.open(watching, n); err != nil {
		return err
	}
	after, _ := b.server.memory()
	b.say("%d clients follow", n)
	each := float64(after-before) / float64(n) / 1024
	b.aim(fmt.Sprintf("%d clients: server memory (RSS) of each", n), each, "KiB", "<= 64", each <= 64)
	if err := b.watched(ctx, a, n); err != nil {
		return err
	}
	return b.resumed(ctx, a, n)
}

// tell submits a job that waits, which is one event, and returns when all have seen it, with how long each took to.
func (b *bed) tell(ctx context.Context, a *audience, n int) ([]time.Duration, error) {
	begin := time.Now()
	far := begin.Add(farAway)
	r, err := b.in.Submit(ctx, ledger.SubmitRequest{Org: streamsOrg, Type: typeName, Args: args, NotBefore: &far, NoDedup: true, Meta: ledger.Meta{Actor: actor}})
	if err != nil {
		return nil, err
	}
	return a.await(ctx, int64(r.Seq), n, begin)
}

// watched is how soon all clients see an event.
func (b *bed) watched(ctx context.Context, a *audience, n int) error {
	var all []time.Duration
	for range streamsEvents {
		took, err := b.tell(ctx, a, n)
		if err != nil {
			return err
		}
		all = append(all, took...)
	}
	p95 := quantile(all, 0.95)
	b.aim("  a submit until a client sees it, p95", p95, "s", "< 0.5", p95 < 0.5)
	b.add("    p50", quantile(all, 0.5), "s")
	b.add("    the longest", quantile(all, 1), "s")
	return nil
}

// resumed kills the server, and waits until all clients have the event that was stored while they were away.
func (b *bed) resumed(ctx context.Context, a *audience, n int) error {
	b.disconnect()
	b.server.crash()
	begin := time.Now()
	if err := b.up(ctx); err != nil {
		return err
	}
	b.add("  the server was killed, and serves after", time.Since(begin).Seconds(), "s")
	serves := time.Now()
	if _, err := b.tell(ctx, a, n); err != nil {
		return err
	}
	took := time.Since(serves).Seconds()
	b.aim("    from then on until all clients are there again, none with a gap", took, "s", "<= 10", took <= 10)
	if twice := a.twice.Load(); twice > 0 {
		return fmt.Errorf("%d events came twice, or out of order", twice)
	}
	return nil
}

// audience are clients that follow one org, each on a connection of its own, as lean as they can be: they are not what is
// measured.
type audience struct {
	address, secret string
	twice           atomic.Int64  // events that a client has seen again, or out of order
	seen            chan struct{} // somebody saw something

	mu  sync.Mutex
	at  map[int64][]time.Time // when each client has seen the event at a sequence; at 0, when it followed for the first time
	err error
}

// open connects n clients, and returns when all follow.
func (a *audience) open(ctx context.Context, n int) error {
	a.at = make(map[int64][]time.Time)
	gate := make(chan struct{}, streamsDialed)
	for range n {
		go a.follow(ctx, gate)
	}
	_, err := a.await(ctx, 0, n, time.Now())
	return err
}

// await returns when n clients have seen the event, with how long after begin each did.
func (a *audience) await(ctx context.Context, seq int64, n int, begin time.Time) ([]time.Duration, error) {
	silence := time.NewTimer(streamsSilent)
	defer silence.Stop()
	for {
		a.mu.Lock()
		times, err := a.at[seq], a.err
		a.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case len(times) >= n:
			took := make([]time.Duration, len(times))
			for i, t := range times {
				took[i] = t.Sub(begin)
			}
			return took, nil
		}
		select {
		case <-a.seen:
		case <-silence.C:
			return nil, fmt.Errorf("%d of %d clients have seen event %d in %s", len(times), n, seq, streamsSilent)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (a *audience) saw(seq int64) {
	now := time.Now()
	a.mu.Lock()
	a.at[seq] = append(a.at[seq], now)
	a.mu.Unlock()
	select {
	case a.seen <- struct{}{}:
	default:
	}
}

// listener is one client.
type listener struct {
	*audience
	last  int64 // id, with which it goes on; negative: it has followed nothing yet
	event int64 // that it has seen last
}

// follow goes on where the client was after each cut.
func (a *audience) follow(ctx context.Context, gate chan struct{}) {
	l := &listener{audience: a, last: -1}
	for ctx.Err() == nil {
		if err := l.connection(ctx, gate); errors.Is(err, errRefused) {
			a.mu.Lock()
			a.err = err
			a.mu.Unlock()
			return
		}
		_ = rest(ctx, streamsRetry) // the end is looked at above
	}
}

// errRefused: the server has answered, and not with a stream.
var errRefused = errors.New("a stream was refused")

// connection follows until the connection ends.
func (l *listener) connection(ctx context.Context, gate chan struct{}) error {
	gate <- struct{}{}
	entered := sync.OnceFunc(func() { <-gate })
	defer entered()
	c, err := net.Dial("tcp", l.address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // it is only read from
	end := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer end()
	request := "GET /v1/orgs/" + string(streamsOrg) + "/events HTTP/1.1\r\nHost: " + l.address + "\r\nAuthorization: Bearer " + l.secret + "\r\n"
	if l.last >= 0 {
		request += "Last-Event-ID: " + strconv.FormatInt(l.last, 10) + "\r\n"
	}
	if _, err := c.Write([]byte(request + "\r\n")); err != nil {
		return err
	}
	lines := bufio.NewScanner(c)
	lines.Buffer(make([]byte, 0, 1024), 1<<20)
	if !lines.Scan() {
		return lines.Err()
	}
	switch status := lines.Text(); {
	case strings.Contains(status, strconv.Itoa(http.StatusServiceUnavailable)):
		return nil // it does not serve yet
	case !strings.Contains(status, strconv.Itoa(http.StatusOK)):
		return fmt.Errorf("%w: %s", errRefused, status)
	}
	for lines.Scan() {
		if err := l.line(lines.Bytes(), entered); err != nil {
			return err
		}
	}
	return lines.Err()
}

var (
	idField   = []byte("id: ")
	dataField = []byte("data: ")
)

// line takes one line of the stream. An id comes before its event, and where the stream begins, and with pings.
func (l *listener) line(line []byte, entered func()) error {
	if text, ok := bytes.CutPrefix(line, idField); ok {
		id, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return fmt.Errorf("%w: %s", errRefused, line)
		}
		if entered(); l.last < 0 {
			l.saw(0)
		}
		l.last = id
	}
	if bytes.HasPrefix(line, dataField) {
		if l.last <= l.event {
			l.twice.Add(1)
			return nil
		}
		l.event = l.last
		l.saw(l.event)
	}
	return nil
}
