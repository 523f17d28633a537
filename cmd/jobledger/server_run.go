package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/choria-io/fisk"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/ledger"
)

// clusterReplicas is what a new ledger gets in a cluster that has as many
// servers, unless the configuration says otherwise.
const clusterReplicas = 3

func (p *program) addServerRun(server *fisk.CmdClause) {
	var file, profile string
	var cfg serverConfig
	run := p.command(server, "run", "Serve a cell, in production", func(ctx context.Context) error {
		stop, err := profileTo(profile)
		if err != nil {
			return err
		}
		return errors.Join(p.runServer(ctx, &cfg, file), stop())
	}).Default()
	run.HelpLong(`With an embedded NATS server whose data is in --store, or on an outside NATS with
--server or --context: there several servers may serve one cell, and one of them
leads. It says what an acknowledgement is worth, and serves until Ctrl-C or SIGTERM.

SIGHUP has it read the configuration again. A change of log_level, reserve,
hot_window and retention holds at once, others are named in the log and need a
restart; what would be refused at a start changes nothing. Certificates need no
SIGHUP: they are read again when their files change.

Examples:

	jobledger server run --store /var/lib/jobledger --durability strict
	jobledger server run -c /etc/jobledger/jobledger.conf
	jobledger server run --server nats://n1:4222,nats://n2:4222 --replicas 3`)
	run.Flag("config", "Configuration file, see server config check").Short('c').PlaceHolder("FILE").StringVar(&file)
	run.Flag("cpuprofile", "Write a CPU profile").Hidden().StringVar(&profile)
	cfg.declare(run)
}

// serverLine is what `server run --json` prints once it serves.
type serverLine struct {
	readyLine
	Durability natsd.Durability `json:"durability"`
	Replicas   int              `json:"replicas"`
}

// place is the NATS that a server runs on.
type place struct {
	connect connector
	close   func()
	url     string
	context *string
	store   *string
	where   string                                     // for people
	room    func(context.Context) (ledger.Room, error) // nil: what the account tells
	tenants cell.Tenants                               // nil: the outside NATS has its own logins
}

// runServer serves until ctx ends. It stops the cell, then the embedded server;
// a crash leaves what was acknowledged, and the next start goes on from there.
func (p *program) runServer(ctx context.Context, cfg *serverConfig, file string) (err error) {
	reload := p.newReload(cfg, file)
	defer reload.close()
	if _, problems := cfg.load(p, file); len(problems) > 0 {
		return refuseConfig(file, problems)
	}
	log := reload.loaded(cfg)
	folded, stopHeap := p.heapFolds() // from here on: NATS reads what it stores first, and much of it behind a crash
	defer stopHeap()
	at, err := p.serverPlace(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer at.close()
	nc, err := at.connect("server")
	if err != nil {
		return err
	}
	defer nc.Close()
	before, err := lookAtLedger(ctx, nc)
	if err != nil {
		return err
	}
	traces, err := p.startTracing(ctx, log)
	if err != nil {
		return err
	}
	defer traces.stop()
	want := cell.Config{Connect: at.connect, Logger: log, Tracer: traces.submits, Version: version, Replicas: cfg.replicaCount(nc, before), Room: at.room, Tenants: at.tenants}
	want.Reserve = reload.reserve.of
	if at.store != nil {
		want.Folds = savedFold(*at.store)
		if want.GroupCommit = ledger.GroupCommitOff; natsd.Durability(cfg.durability.Value) == natsd.Strict {
			want.GroupCommit = ledger.GroupCommitOn
		}
		if cfg.index.Value == "yes" {
			want.IndexDir = filepath.Join(*at.store, indexFolder)
		}
	}
	want.HotWindow, want.DuplicateWindow = cfg.windows()
	want.Retention = cfg.kept()
	want.Folded = folded
	secured, err := tlsOf(cfg.tlsCert.Value, cfg.tlsKey.Value, log)
	if err != nil {
		return usagef("http_tls_cert: %w", err)
	}
	listener, err := cfg.listenHTTP(log)
	if err != nil {
		return err
	}
	want.HTTP = cfg.httpOf(listener, secured, nc.ConnectedServerVersion())
	c, err := startCell(ctx, want)
	if err != nil {
		return err
	}
	defer func() { err = joinOnce(err, c.close()) }()
	after, err := lookAtLedger(ctx, nc)
	if err != nil {
		return err
	}
	line := serverLine{Durability: natsd.Durability(cfg.durability.Value), Replicas: after.replicas, readyLine: readyLine{
		Ready: true, NATSURL: at.url, HTTPURL: cfg.httpURL(listener), Context: at.context, Store: at.store, ReplayedEvents: before.events, Version: version}}
	if err := p.sayServing(&line, at); err != nil {
		return err
	}
	running, release := c.whileServing(ctx)
	defer release(nil)
	reload.follow(running, c.info.SetWindows)
	return ended(ctx, running)
}

// savedFold is where a server keeps its fold in a data folder. It may be deleted while no server runs.
func savedFold(store string) dispatcher.Folds {
	return dispatcher.FoldFile(filepath.Join(store, foldsFolder, "dispatcher"))
}

// What a server keeps in a data folder beside the ledger.
const (
	foldsFolder = "folds"
	indexFolder = "index"
)

func (p *program) sayServing(line *serverLine, at *place) error {
	if p.flags.JSON {
		return p.line(line)
	}
	p.talkf("jobledger %s   %s   replicas %d   %s events", version, at.where, line.Replicas, thousands(line.ReplayedEvents))
	p.talkf("  NATS      %s", line.NATSURL)
	if line.HTTPURL != nil {
		p.talkf("  HTTP      %-28s /v1 /metrics /healthz /readyz", *line.HTTPURL)
	}
	p.talkf("  promise   %s: %s", line.Durability, line.Durability.Promise(line.Replicas))
	return nil
}

// refuseConfig is a usage mistake that lists what is wrong.
func refuseConfig(file string, problems []problem) error {
	texts := make([]string, len(problems))
	for i, problem := range problems {
		texts[i] = problem.Message
		if problem.Line != nil {
			texts[i] = fmt.Sprintf("%s:%d: %s", file, *problem.Line, problem.Message)
		}
	}
	return usagef("%s", strings.Join(texts, "; "))
}

// serverPlace starts the embedded server, or decides where the outside one is.
func (p *program) serverPlace(ctx context.Context, cfg *serverConfig, log *zap.Logger) (*place, error) {
	if cfg.outside(p) {
		t, err := p.resolveTarget()
		if err != nil {
			return nil, err
		}
		at := &place{url: withoutPasswords(t.URL), where: "on an outside NATS", close: func() {}}
		at.connect = func(name string) (*nats.Conn, error) {
			if cell.ReadsLong(name) {
				return p.connect(t, name, p.inPacks())
			}
			return p.connect(t, name)
		}
		if t.ContextName != "" {
			at.context = &t.ContextName
		}
		return at, nil
	}
	host, port, _ := net.SplitHostPort(cfg.listen.Value) // checked
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, usagef("--listen: %w", err)
	}
	guard, err := cfg.guard()
	if err != nil {
		return nil, err
	}
	secured, err := tlsOf(cfg.natsCert.Value, cfg.natsKey.Value, log)
	if err != nil {
		return nil, usagef("listen_tls_cert: %w", err)
	}
	server, err := startNATS(ctx, natsd.Config{StoreDir: cfg.store.Value, Host: host, Port: number, TLS: secured,
		Durability: natsd.Durability(cfg.durability.Value), Guard: guard, Logger: log})
	if err != nil {
		return nil, err
	}
	switch {
	case cfg.unsafeBind.Value == "yes" && guard.Required && secured != nil:
	case cfg.unsafeBind.Value == "yes" && guard.Required:
		log.Warn("unsafe_bind: tokens and jobs cross the network unencrypted", zap.String("listen", cfg.listen.Value))
	case cfg.unsafeBind.Value == "yes":
		log.Warn("unsafe_bind: whoever reaches this address has all rights", zap.String("listen", cfg.listen.Value))
	}
	return &place{connect: inProcess(server), close: server.Shutdown, url: server.URL(), store: &cfg.store.Value, room: roomOf(server), tenants: server,
		where: fmt.Sprintf("NATS %s   data %s", natsd.Version, cfg.store.Value)}, nil
}

// replicaCount is what the configuration says, else what is there, else what
// the cluster can give.
func (c *serverConfig) replicaCount(nc *nats.Conn, there ledgerThere) int {
	switch {
	case c.replicas.Value != "":
		n, _ := strconv.Atoi(c.replicas.Value) // checked
		return n
	case !there.found && nc.ConnectedClusterName() != "" && len(nc.Servers()) >= clusterReplicas:
		return clusterReplicas
	}
	return 0
}

// ended is why a server stopped: nil for the end of its own context, which is
// a drain that finished.
func ended(ctx, running context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(running)
}

// joinOnce adds what went wrong at the stop, unless it is what led to it.
func joinOnce(err, stopping error) error {
	if stopping == nil || errors.Is(err, stopping) {
		return err
	}
	if err == nil {
		return stopping
	}
	return failf(ledger.AsError(err).Code, "%w; then, at the stop: %w", err, stopping)
}
