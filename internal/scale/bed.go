package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	queueName = schemas.QueueName("scale")
	typeName  = schemas.TypeName("scale")
	slots     = 64
	argsBytes = 256

	submitters = 128             // submits under way at once
	quietMax   = 2 * time.Minute // without an outcome for so long, jobs are lost
	lookEvery  = 20 * time.Millisecond
)

var (
	actor = schemas.Actor{Type: "user", ID: "scale"}
	args  = json.RawMessage(`"` + string(make256()) + `"`)
)

func make256() []byte {
	b := make([]byte, argsBytes-2)
	for i := range b {
		b[i] = 'x'
	}
	return b
}

// bed is where one part is measured: a server, and the connections to it.
type bed struct {
	jobs    int
	window  time.Duration // hot window of the part years
	rate    int           // jobs that the part years offers a second; 0: as fast as they are worked off
	bulk    int           // jobs that it submits at a time; 0 and 1: each by itself
	http    string        // where the server of the part streams serves HTTP; empty: it does not
	noIndex bool          // the server keeps no query index
	store   string
	start   func(ctx context.Context, store string) (server, error)
	part    string
	results *report
	talk    io.Writer
	log     *zap.Logger

	server server
	in     *ledger.Ledger // submits
	look   *ledger.Ledger // reads
}

// measure runs a part on a server of its own, has the checker look at what it left, and removes it.
func (b *bed) measure(ctx context.Context, part func(context.Context, *bed) error) (err error) {
	if err := b.up(ctx); err != nil {
		return err
	}
	defer func() {
		if b.server != nil {
			b.disconnect()
			b.server.crash()
		}
		err = errors.Join(err, os.RemoveAll(b.store))
	}()
	if err := part(ctx, b); err != nil {
		return err
	}
	return b.down(ctx)
}

// up starts the server and connects to it.
func (b *bed) up(ctx context.Context) (err error) {
	if b.server, err = b.start(ctx, b.store); err != nil {
		return err
	}
	if b.in, err = b.connect(); err != nil {
		return err
	}
	b.look, err = b.connect()
	return err
}

func (b *bed) connect() (*ledger.Ledger, error) {
	nc, err := nats.Connect(b.server.url(), nats.MaxReconnects(-1))
	if err != nil {
		return nil, err
	}
	return ledger.New(ledger.Config{Conn: nc, Logger: b.log})
}

func (b *bed) disconnect() {
	for _, l := range []*ledger.Ledger{b.in, b.look} {
		if l != nil {
			l.Conn().Close()
		}
	}
	b.in, b.look = nil, nil
}

// down has the checker look, and ends the server.
func (b *bed) down(ctx context.Context) error {
	begin := time.Now()
	verdict, err := ledger.Verify(ctx, ledger.VerifyConfig{Ledger: b.look, Limits: true})
	if err != nil {
		return err
	}
	if !verdict.OK {
		text, _ := json.Marshal(verdict)
		return fmt.Errorf("the checker finds the ledger unsound: %s", text)
	}
	b.say("checked: %d events of %d jobs are sound, in %s", verdict.Events, verdict.Jobs, time.Since(begin).Round(time.Second))
	b.disconnect()
	err = b.server.stop()
	b.server = nil
	return errors.Join(err, os.RemoveAll(b.store))
}

// again is a server on an empty folder.
func (b *bed) again(ctx context.Context) error {
	if err := b.down(ctx); err != nil {
		return err
	}
	return b.up(ctx)
}

func (b *bed) say(format string, args ...any) {
	fmt.Fprintf(b.talk, "  %s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// add notes a figure for the table, and says it at once: a part may take hours, and be stopped before its end.
func (b *bed) add(what string, value float64, unit string) {
	b.say("%s: %.4g %s", strings.TrimSpace(what), value, unit)
	b.results.add(b.part, what, value, unit)
}

func (b *bed) aim(what string, value float64, unit, aim string, met bool) {
	b.say("%s: %.4g %s, asked %s", strings.TrimSpace(what), value, unit, aim)
	b.results.aim(b.part, what, value, unit, aim, met)
}

// remember adds the server's memory.
func (b *bed) remember(when string) {
	if now, most := b.server.memory(); most > 0 {
		b.add("server memory (RSS) "+when, float64(now>>20), "MiB")
		b.add("server memory, the most until then", float64(most>>20), "MiB")
	}
}

// registerType makes the type of all jobs.
func (b *bed) registerType(ctx context.Context, t schemas.TypeSettings) error {
	t.Name, t.Queue = typeName, queueName
	_, err := b.in.PutType(ctx, t, ledger.Meta{Actor: actor}, "measured")
	return err
}

// org sets an org's weight and limit; 0 is no limit.
func (b *bed) org(ctx context.Context, org schemas.OrgID, weight, running int) error {
	set := &schemas.OrgSet{Settings: schemas.OrgSettings{Name: org, Weight: weight, MaxRunning: &running}, Reason: "measured"}
	_, err := b.in.Put(ctx, ledger.Meta{Actor: actor}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil })
	return err
}

// submit stores n jobs, in about the order of their numbers, and returns how long that took.
func (b *bed) submit(ctx context.Context, n int, job func(i int) ledger.SubmitRequest) (time.Duration, error) {
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	begin := time.Now()
	for range min(submitters, n) {
		group.Go(func() error {
			for {
				i := int(next.Add(1) - 1)
				if i >= n {
					return nil
				}
				r := job(i)
				r.Type, r.Args, r.NoDedup, r.Meta = typeName, args, true, ledger.Meta{Actor: actor}
				if _, err := b.in.Submit(ctx, r); err != nil {
					return err
				}
			}
		})
	}
	err := group.Wait()
	return time.Since(begin), err
}

// fill submits n jobs of one org and adds the rate.
func (b *bed) fill(ctx context.Context, n int, what string, job func(i int) ledger.SubmitRequest) error {
	took, err := b.submit(ctx, n, job)
	if err != nil {
		return err
	}
	b.add(what, float64(n)/took.Seconds(), "jobs/s")
	b.say("%d jobs submitted in %s", n, took.Round(time.Millisecond))
	return nil
}

// crew is a worker that does nothing for each job, and counts.
type crew struct {
	stop            func() error
	ended, critical atomic.Int64 // outcomes, and those of critical jobs

	mu    sync.Mutex
	byOrg map[schemas.OrgID]int
}

// work starts a worker.
func (b *bed) work(ctx context.Context, lasting time.Duration) (*crew, error) {
	claims, err := b.connect()
	if err != nil {
		return nil, err
	}
	offers, err := b.connect()
	if err != nil {
		return nil, err
	}
	c := &crew{byOrg: make(map[schemas.OrgID]int)}
	w, err := handlers.New(handlers.Config{Ledger: claims, Work: offers.Conn(), Slots: slots, Name: "scale", Logger: b.log,
		Report: func(r handlers.Report) {
			c.mu.Lock()
			c.byOrg[r.Org]++
			c.mu.Unlock()
			if strings.HasPrefix(string(r.ID), criticalID) {
				c.critical.Add(1)
			}
			c.ended.Add(1)
		},
		Serves: []handlers.Registration{{Queue: queueName, Type: typeName, Handler: handlers.HandlerFunc(
			func(ctx context.Context, _ *handlers.Attempt) (json.RawMessage, error) {
				return nil, rest(ctx, lasting)
			})}}})
	if err != nil {
		return nil, err
	}
	working, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- w.Run(working) }()
	c.stop = func() error {
		cancel()
		err := <-done
		claims.Conn().Close()
		offers.Conn().Close()
		return err
	}
	return c, nil
}

// rest waits for d or the end of ctx.
func rest(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *crew) of(org schemas.OrgID) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byOrg[org]
}

// await returns when is holds; an error if no job ends for long.
func (c *crew) await(ctx context.Context, what string, is func() bool) error {
	last, since := int64(-1), time.Now()
	for !is() {
		if n := c.ended.Load(); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > quietMax {
			return fmt.Errorf("no job has ended for %s, waiting for %s", quietMax, what)
		}
		if err := rest(ctx, lookEvery); err != nil {
			return err
		}
	}
	return nil
}
