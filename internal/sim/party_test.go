package sim_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

// party is one process: it can crash, stand still or lose its connections. A crash cuts it off in both
// directions at one moment; what its goroutines still do reaches nobody. A new process takes its place.
type party struct {
	world      *world
	name       string
	role       string
	start      func(ctx context.Context, p *party) error
	cut        bool // no new connections. Guarded by network.mu, as is crashed.
	crashed    bool
	paused     bool      // owned by the scheduler, as are the following
	troubledAt time.Time // when its latest trouble ended
	waiting    []func()  // what arrives while it stands still
	held       []*conn   // what has written meanwhile
	stop       context.CancelFunc
	done       chan struct{}
	err        error // why it ended, once done is closed

	mu    sync.Mutex
	conns []*nats.Conn
	host  *dispatcher.Host
}

// connect opens a connection of the party as the programs do: it reconnects for ever.
func (p *party) connect(role string) (*nats.Conn, error) {
	nc, err := nats.Connect("", nats.InProcessServer(&dialer{net: p.world.net, party: p, role: role}), nats.Name(role),
		nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond), nats.ReconnectJitter(0, 0), nats.RetryOnFailedConnect(true),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.conns = append(p.conns, nc)
	p.mu.Unlock()
	return nc, nil
}

func (p *party) ledger(role string) (*ledger.Ledger, error) {
	nc, err := p.connect(role)
	if err != nil {
		return nil, err
	}
	return ledger.New(ledger.Config{Conn: nc, Logger: p.log()})
}

func (p *party) log() *zap.Logger { return p.world.log.With(zap.String("party", p.name)) }

// close closes the party's connections.
func (p *party) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, nc := range p.conns {
		nc.Close()
	}
}

func (p *party) hasEnded() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// launch runs the party in a goroutine of its own.
func (p *party) launch() {
	ctx, cancel := context.WithCancel(context.Background())
	p.stop, p.done = cancel, make(chan struct{})
	go func() {
		defer close(p.done)
		defer p.close()
		p.err = p.start(ctx, p)
	}()
}

// crash ends the party without a word.
func (p *party) crash() {
	w := p.world
	w.net.trace.note("** %s crashes", p.name)
	p.troubledAt = time.Now()
	w.net.mu.Lock()
	p.crashed = true
	w.net.mu.Unlock()
	p.paused, p.waiting = false, nil
	w.net.sever(true, func(c *conn) bool { return c.party == p })
	p.stop()
	p.close()
}

// pause has the party stand still for d: nothing reaches it and nothing it says arrives.
func (p *party) pause(d time.Duration) {
	if p.paused || p.crashed {
		return
	}
	p.world.net.trace.note("** %s stands still for %s", p.name, d)
	p.paused, p.troubledAt = true, time.Now()
	p.world.net.after(d, func() {
		if !p.paused {
			return
		}
		p.world.net.trace.note("** %s goes on", p.name)
		p.unpause()
		for _, run := range p.waiting {
			p.world.net.at(time.Now(), run)
		}
		p.waiting = nil
	})
}

// unpause lets what the party has written be looked at again.
func (p *party) unpause() {
	p.paused, p.troubledAt = false, time.Now()
	for _, c := range p.held {
		p.world.net.wrote(c)
	}
	p.held = nil
}

// cutOff takes the party's connections away for d.
func (p *party) cutOff(d time.Duration) {
	w := p.world
	if p.crashed {
		return
	}
	w.net.trace.note("** %s is cut off for %s", p.name, d)
	p.troubledAt = time.Now()
	w.setCut(p, true)
	w.net.sever(false, func(c *conn) bool { return c.party == p })
	w.net.after(d, func() { w.setCut(p, false); p.troubledAt = time.Now() })
}

func (w *world) setCut(p *party, cut bool) {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	p.cut = cut
}

// runServer is a server process: what internal/cell runs, without the gateway.
func runServer(ctx context.Context, p *party) error {
	var ledgers [3]*ledger.Ledger
	for i, role := range []string{"dispatcher", "feed", "projector"} {
		var err error
		if ledgers[i], err = p.ledger(role); err != nil {
			return err
		}
	}
	provision := ledger.ProvisionConfig{Replicas: p.world.replicas}
	for {
		_, err := ledger.Provision(ctx, ledgers[0], provision)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	feed, err := ledger.NewFeed(ledger.FeedConfig{Ledger: ledgers[1]})
	if err != nil {
		return err
	}
	views, err := projector.New(projector.Config{Ledger: ledgers[2], Feed: feed, Logger: p.log()})
	if err != nil {
		return err
	}
	host, err := dispatcher.New(dispatcher.Config{Ledger: ledgers[0], Feed: feed, Server: p.name, Logger: p.log(), Folds: &partyFolds{p},
		Times: dispatcher.HostTimes{Save: saveFoldEvery},
		Provision: func(ctx context.Context) error {
			_, err := ledger.Provision(ctx, ledgers[0], provision)
			return err
		},
		WhileLeading: []func(context.Context, schemas.Seq) error{views.Run}})
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.host = host
	p.mu.Unlock()
	feeding, stopFeed := context.WithCancel(context.WithoutCancel(ctx))
	fed := make(chan error, 1)
	go func() { fed <- feed.Run(feeding) }()
	err = host.Run(ctx)
	stopFeed()
	if ferr := <-fed; err == nil && !errors.Is(ferr, context.Canceled) {
		err = ferr
	}
	return err
}

// runWorker is a worker process.
func runWorker(ctx context.Context, p *party) error {
	appends, err := p.ledger("ledger")
	if err != nil {
		return err
	}
	work, err := p.connect("work")
	if err != nil {
		return err
	}
	w, err := handlers.New(handlers.Config{Ledger: appends, Work: work, Slots: slotsPerWorker, Name: p.name, Grace: 2 * time.Second, Logger: p.log(),
		Serves: []handlers.Registration{
			{Type: typePlain, Handler: p.world.handler(p)},
			{Type: typeOnce, Handler: p.world.handler(p), Exclusive: true},
		}})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// live returns the parties of a role that have not crashed.
func (w *world) live(role string) (out []*party) {
	for _, p := range w.parties {
		if p.role == role && !p.crashed {
			out = append(out, p)
		}
	}
	return out
}

// spawn starts another process of a role.
func (w *world) spawn(role string, start func(context.Context, *party) error) *party {
	w.spawned++
	p := &party{world: w, name: fmt.Sprintf("%s-%d", role, w.spawned), role: role, start: start}
	w.parties = append(w.parties, p)
	w.net.trace.note("** %s starts", p.name)
	p.launch()
	return p
}
