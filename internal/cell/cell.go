package cell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/metrics"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

// flushTimeout bounds the sending of what is left in a connection before it is closed.
const flushTimeout = time.Second

// Names of connections that have to be told apart.
const (
	feedConn     = "feed"
	archiverConn = "archiver"
)

// ReadsLong reports whether the connection of this name reads long stretches of the ledger: packs serve it best
// (internal/packs).
func ReadsLong(name string) bool { return name == feedConn || name == archiverConn }

// Config says what a server process runs.
type Config struct {
	// Connect opens a connection in the ledger's own account. Each part gets one of its own, so that one's
	// load cannot delay another's acknowledgements (ENGINE 10); the name is for people. Run closes them.
	// They must reconnect for ever: the parts outlast a restart of the server. Required.
	Connect func(name string) (*nats.Conn, error)
	// Logger is required; use zap.NewNop() for none.
	Logger *zap.Logger
	// ServerID names this process among the servers of the cell; random if empty.
	ServerID string
	// Version of the program: MAJOR.MINOR.PATCH.
	Version string
	// Replicas and DuplicateWindow are those of ledger.ProvisionConfig.
	Replicas        int
	DuplicateWindow time.Duration
	// RegisterUnknown and Actor are those of gateway.Config.
	RegisterUnknown bool
	Actor           schemas.Actor
	// Times are those of dispatcher.Config; zero fields take their defaults.
	Times dispatcher.HostTimes
	// HotWindow is that of ledger.ProvisionConfig.
	HotWindow time.Duration
	// GroupCommit is that of ledger.ProvisionConfig.
	GroupCommit ledger.GroupCommit
	// Retention is that of ledger.ProvisionConfig.
	Retention time.Duration
	// Archive, if set, changes how the archiver works, for tests.
	Archive func(*ledger.ArchiverConfig)
	// Batches, if set, changes how batches are run, for tests.
	Batches func(*handlers.BatchesConfig)
	// Bulks, if set, changes how bulks are run, for tests.
	Bulks func(*handlers.BulksConfig)
	// Remove, if set, changes how the remover of old history works, for tests.
	Remove func(*ledger.RemoverConfig)
	// PayloadGrace and CollectEvery are those of ledger.CollectorConfig; zero fields take their defaults.
	PayloadGrace, CollectEvery time.Duration
	// Room and Reserve are Measure and Reserve of ledger.SpaceWatchConfig.
	Room    func(context.Context) (ledger.Room, error)
	Reserve func(total int64) int64
	// Folds is that of dispatcher.Config: where the fold is kept for the next start. nil: nowhere.
	Folds dispatcher.Folds
	// IndexDir is the folder of this server's query index, which it has for itself; empty: it keeps none.
	IndexDir string
	// Right is that of dispatcher.Config, asked also before a server runs a batch itself. nil: every job may run.
	Right ledger.Right
	// Tracer is that of ledger.Config, for what the gateway submits.
	Tracer ledger.SubmitTracer
	// Tenants, if set, is the NATS server's side of logins.
	Tenants Tenants
	// HTTP is where health, readiness and metrics are served; zero: nowhere.
	HTTP HTTP
	// Ready, if set, is called once requests are taken. It must not block.
	Ready func(Info)
	// Folded, if set, is called once the dispatcher's fold is where the ledger ended at the start. It must not block.
	Folded func()
}

// Tenants is a NATS server that has its clients log in.
type Tenants interface {
	// Admit is given, once, what recognises the holder of a secret.
	Admit(func(ctx context.Context, secret string) (gateway.Login, error))
	// Expel ends the connections of a token's account, or of all tenants. It must not block for long.
	Expel(token string)
}

// Info tells about a cell that is ready.
type Info struct {
	ServerID string
	Cell     ledger.Cell
	// End is where the ledger ended when this process began: everything up to it was there before.
	End schemas.Position
	// SetWindows has the ledger take other values of Config.HotWindow and Config.Retention while the cell serves; 0 keeps what
	// is there. All processes know them within a minute. After an error this process stands by those from before.
	SetWindows func(ctx context.Context, hot, retention time.Duration) error
}

func (c *Config) validate() error {
	if c.Connect == nil {
		return errors.New("cell: Config.Connect is required")
	}
	if c.Logger == nil {
		return errors.New("cell: Config.Logger is required")
	}
	if c.ServerID == "" {
		c.ServerID = uuid.NewString()
	}
	return nil
}

// Run provisions the cell and serves it until ctx ends; it returns nil then, and otherwise why the first
// part ended. All parts have ended and all connections are closed when it returns.
func Run(ctx context.Context, cfg Config) (err error) {
	if err := cfg.validate(); err != nil {
		return err
	}
	o := newOpener(&cfg)
	defer func() { o.close() }()
	defer cfg.HTTP.close()
	dispatch := o.ledger("dispatcher", nil)
	feeding := o.ledger(feedConn, nil)
	projecting := o.ledger("projector", nil)
	collecting := o.ledger("collector", nil)
	archiving := o.ledger(archiverConn, nil)
	var args gateway.ArgsChecker
	commands := o.ledger("commands", args.Check)
	requests, progress := o.conn("gateway"), o.conn("progress")
	batching, bulking := o.ledger("batches", args.Check), o.ledger("bulks", nil)
	indexing := o.indexing()
	if o.err != nil {
		return o.err
	}
	streams := newStreams(&cfg)
	cell, end, err := streams.begin(ctx, dispatch)
	if err != nil {
		return fmt.Errorf("provision: %w", err)
	}
	feed, err := ledger.NewFeed(ledger.FeedConfig{Ledger: feeding, Logger: component(cfg.Logger, "feed")})
	if err != nil {
		return err
	}
	views, err := projector.New(projector.Config{Ledger: projecting, Feed: feed, Logger: component(cfg.Logger, "projector"), HotWindow: projecting.HotWindow})
	if err != nil {
		return err
	}
	var host *dispatcher.Host // it knows how schedules stand, and is made with those who look after the streams
	keepers, err := keepers(&cfg, collecting, archiving, func(ctx context.Context, org schemas.OrgID, name string, reached schemas.Seq) (schemas.ScheduleCarried, bool, error) {
		return host.CarriedSchedule(ctx, org, name, reached)
	})
	if err != nil {
		return err
	}
	host, err = dispatcher.New(dispatcher.Config{Ledger: dispatch, Feed: feed, Server: cfg.ServerID, Logger: cfg.Logger, Times: cfg.Times, Right: cfg.Right, Folds: cfg.Folds,
		Provision: func(ctx context.Context) error {
			_, err := streams.provision(ctx, dispatch)
			return err
		},
		WhileLeading: append(keepers, views.Run)})
	if err != nil {
		return err
	}
	door, search, err := newDoor(&cfg, commands, indexing, requests, progress, feed, host, Info{ServerID: cfg.ServerID, Cell: cell, End: end, SetWindows: streams.setter(commands)})
	if err != nil {
		return err
	}
	search.tellWhere(dispatch, commands, batching, bulking)
	own, err := newOwn(&cfg, batching, bulking, feed, door)
	if err != nil {
		return err
	}
	space, err := ledger.NewSpaceWatch(ledger.SpaceWatchConfig{Ledger: commands, Logger: component(cfg.Logger, "space"), Measure: cfg.Room, Reserve: cfg.Reserve})
	if err != nil {
		return err
	}
	seen, err := observe(ctx, &cfg, commands, watched{feed, host, views, space, door, search, o.meters, end})
	if err != nil {
		return err
	}
	parts := append(seen, []part{{"level", commands.WatchLevel}, {"feed", feed.Run}, {"space", space.Run}, {"dispatcher", host.Run}, {"folded", folded(host, end.Seq, cfg.Folded)}, {"index", search.run}, {"gateway", door.Run}}...)
	// The server's own work is stopped first: the dispatcher takes leave of its workers, and bulks act through the gateway.
	return runParts(ctx, append(parts, own...))
}

// folded tells once that the fold has come as far as end; it goes on until ctx ends, as every part does.
func folded(host *dispatcher.Host, end schemas.Seq, tell func()) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := host.Reach(ctx, end); err == nil && tell != nil {
			tell()
		}
		<-ctx.Done() // if the dispatcher has ended, it says why itself
		return nil
	}
}

// newDoor makes the gateway, and the index that it asks.
func newDoor(cfg *Config, l, indexing *ledger.Ledger, conn, progress *nats.Conn, feed *ledger.Feed, host *dispatcher.Host, info Info) (*gateway.Gateway, *indexed, error) {
	search, err := newIndex(cfg, indexing, feed)
	if err != nil {
		return nil, nil, err
	}
	var revoked func(string)
	if cfg.Tenants != nil {
		revoked = cfg.Tenants.Expel
	}
	door, err := gateway.New(gateway.Config{Ledger: l, Revoked: revoked, Conn: conn, Progress: progress, Feed: feed, Logger: component(cfg.Logger, "gateway"),
		RegisterUnknown: cfg.RegisterUnknown, Actor: cfg.Actor, Version: cfg.Version, Schedules: host.Schedule, Index: search.door(), Ready: func() {
			if cfg.Ready != nil {
				cfg.Ready(info)
			}
		}})
	if err == nil && cfg.Tenants != nil {
		cfg.Tenants.Admit(door.Login)
	}
	return door, search, err
}

// newOwn are the parts that work for jobs of the servers' own.
func newOwn(cfg *Config, batching, bulking *ledger.Ledger, feed *ledger.Feed, door *gateway.Gateway) ([]part, error) {
	batches, err := newBatches(cfg, batching, feed)
	if err != nil {
		return nil, err
	}
	bulks, err := newBulks(cfg, bulking, feed, door)
	if err != nil {
		return nil, err
	}
	return []part{{"batches", batches.Run}, {"bulks", bulks.Run}}, nil
}

func newBatches(cfg *Config, l *ledger.Ledger, feed *ledger.Feed) (*handlers.Batches, error) {
	b := handlers.BatchesConfig{Ledger: l, Feed: feed, Name: "server:" + cfg.ServerID, Version: cfg.Version,
		Logger: component(cfg.Logger, "batches"), Right: cfg.Right}
	if cfg.Batches != nil {
		cfg.Batches(&b)
	}
	return handlers.NewBatches(b)
}

func newBulks(cfg *Config, l *ledger.Ledger, feed *ledger.Feed, door *gateway.Gateway) (*handlers.Bulks, error) {
	b := handlers.BulksConfig{Ledger: l, Feed: feed, Act: door.ActBulk, Name: "server:" + cfg.ServerID, Version: cfg.Version,
		Logger: component(cfg.Logger, "bulks"), Right: cfg.Right}
	if cfg.Bulks != nil {
		cfg.Bulks(&b)
	}
	return handlers.NewBulks(b)
}

// keepers are those who look after the streams while this server leads: one collects payloads that nothing names, one
// moves events to the archive, one removes what is past its retention from there.
func keepers(cfg *Config, collecting, archiving *ledger.Ledger,
	schedule func(context.Context, schemas.OrgID, string, schemas.Seq) (schemas.ScheduleCarried, bool, error)) ([]func(context.Context, schemas.Seq) error, error) {
	orphans, err := ledger.NewCollector(ledger.CollectorConfig{Ledger: collecting, Logger: component(cfg.Logger, "collector"),
		Grace: cfg.PayloadGrace, Every: cfg.CollectEvery})
	if err != nil {
		return nil, err
	}
	a := ledger.ArchiverConfig{Ledger: archiving, Logger: component(cfg.Logger, "archiver"), Schedule: schedule}
	if cfg.Archive != nil {
		cfg.Archive(&a)
	}
	archive, err := ledger.NewArchiver(a)
	if err != nil {
		return nil, err
	}
	// It has the archiver's ledger, which knows the same catalogue: filters are large.
	m := ledger.RemoverConfig{Ledger: archiving, Logger: component(cfg.Logger, "remover"), Views: archiving.ViewsAt}
	if cfg.Remove != nil {
		cfg.Remove(&m)
	}
	remove, err := ledger.NewRemover(m)
	if err != nil {
		return nil, err
	}
	return []func(context.Context, schemas.Seq) error{orphans.Run, archive.Run, remove.Run}, nil
}

func component(log *zap.Logger, name string) *zap.Logger {
	return log.With(zap.String("component", name))
}

// opener opens the connections of a cell and remembers them; after an error it does nothing more.
type opener struct {
	cfg    *Config
	meters *metrics.Meters
	// archive is what all of them know of the archive: one reads what another one needs too.
	archive *ledger.ArchiveCache
	conns   []*nats.Conn
	err     error
}

func newOpener(cfg *Config) *opener {
	o := &opener{cfg: cfg, archive: ledger.NewArchiveCache()}
	if cfg.HTTP.Listener != nil { // else nobody would hear of what they count
		o.meters = metrics.NewMeters()
	}
	return o
}

func (o *opener) conn(name string) *nats.Conn {
	if o.err != nil {
		return nil
	}
	nc, err := o.cfg.Connect(name)
	if err != nil {
		o.err = fmt.Errorf("connect the %s: %w", name, err)
		return nil
	}
	o.conns = append(o.conns, nc)
	return nc
}

func (o *opener) ledger(name string, check func(*schemas.TypeSettings, json.RawMessage) error) *ledger.Ledger {
	nc := o.conn(name)
	if o.err != nil {
		return nil
	}
	c := ledger.Config{Conn: nc, Logger: component(o.cfg.Logger, name), CheckArgs: check, Tracer: o.cfg.Tracer, ArchiveCache: o.archive}
	if o.meters != nil {
		c.Appended, c.Limited = o.meters.Appended, o.meters.Limited
	}
	l, err := ledger.New(c)
	if err != nil {
		o.err = err
		return nil
	}
	return l
}

// close sends what is left, such as the last replies, and closes all connections.
func (o *opener) close() {
	for _, nc := range o.conns {
		if nc.IsConnected() {
			_ = nc.FlushTimeout(flushTimeout) // what cannot be sent now is lost with the connection, as on a crash
		}
		nc.Close()
	}
}
