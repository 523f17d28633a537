package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/choria-io/fisk"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	devContext                = "jobledger-dev"
	devOrg      schemas.OrgID = "demo" // of the saved context; --org changes it
	devStore                  = "./jobledger-dev"
	demoOutput                = "demo-output" // inside the data folder
	replayLimit               = time.Minute   // how long the start waits for the views, to tell how long they took
)

// devFlags are those of `dev`.
type devFlags struct {
	demo, fresh, exitWhenIdle bool
	noUI                      bool
	store                     string
	port, http                option[int]
}

func (p *program) addDev(app *fisk.Application) {
	var f devFlags
	cmd := p.command(app, "dev", "Everything in one process, for developing and trying out", func(ctx context.Context) error {
		return p.runDev(ctx, &f)
	})
	cmd.HelpLong(`An embedded NATS server on loopback, the dispatcher and the command service, without
a login. A type is registered at its first job. The connection is saved as nats
context jobledger-dev, which the other commands use from then on. The data is kept
between runs.

Ctrl-C lets running jobs end; a second one hands them back at once.

Examples:

	jobledger dev --demo
	jobledger dev --demo --exit-when-idle --store /tmp/try
	jobledger dev --fresh --json`)
	cmd.Flag("demo", "Run a batch of real jobs, some of which fail, time out or are canceled on purpose").UnNegatableBoolVar(&f.demo)
	cmd.Flag("store", "Data folder").Default(devStore).PlaceHolder("DIR").StringVar(&f.store)
	optionFlag(cmd, "port", "Port of the NATS server; a busy one moves to a free one", &f.port, parsePort).Default("4222").PlaceHolder("N")
	optionFlag(cmd, "http", "Port of the web console, the HTTP API, /metrics, /healthz and /readyz; a busy one moves to a free one", &f.http, parsePort).Default("8422").PlaceHolder("N")
	cmd.Flag("fresh", "Wipe the data folder first").UnNegatableBoolVar(&f.fresh)
	cmd.Flag("no-ui", "Serve no web console").UnNegatableBoolVar(&f.noUI)
	cmd.Flag("exit-when-idle", "End when the demo's jobs have: 0 if all ended as expected").UnNegatableBoolVar(&f.exitWhenIdle)
}

func (f *devFlags) check(p *program) error {
	switch {
	case f.exitWhenIdle && !f.demo:
		return usagef("--exit-when-idle is for --demo: without it there is nothing to wait for")
	case p.flags.Server.fromFlag || p.flags.Context.fromFlag:
		return usagef("dev starts a NATS server of its own: for an outside one use `jobledger server run --server URL`")
	}
	return nil
}

// logLevel is that of servers; the demo has its own way to tell how jobs end.
func (f *devFlags) logLevel() zapcore.Level {
	if f.demo {
		return zap.WarnLevel
	}
	return zap.InfoLevel
}

// dev is a development cell that serves.
type dev struct {
	*program
	log     *zap.Logger
	actor   schemas.Actor
	org     schemas.OrgID
	nats    *natsd.Server
	cell    *cellProcess
	connect connector
}

// runDev serves until ctx ends. It stops in the order of a job's way: the
// worker, the cell, the NATS server. A crash anywhere leaves what was
// acknowledged, and the next start goes on from there.
func (p *program) runDev(ctx context.Context, f *devFlags) (err error) {
	if err := f.check(p); err != nil {
		return err
	}
	d := &dev{program: p, log: p.logger(f.logLevel()), actor: p.devActor(), org: devOrg}
	if p.flags.Org.Value != "" {
		d.org = schemas.OrgID(p.flags.Org.Value)
	}
	if f.fresh {
		if err := wipe(f.store); err != nil {
			return err
		}
	}
	d.nats, err = startNATS(ctx, natsd.Config{StoreDir: f.store, Port: f.port.Value, PortFallback: true, Guard: new(natsd.Guard), Logger: d.log})
	if err != nil {
		return err
	}
	defer d.nats.Shutdown()
	d.connect = inProcess(d.nats)
	ready, err := d.start(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = joinOnce(err, d.cell.close()) }()
	if p.flags.JSON {
		if err := p.line(ready); err != nil {
			return err
		}
	}
	running, fail := d.cell.whileServing(ctx)
	defer fail(nil)
	if f.demo {
		return d.runDemo(running, fail, filepath.Join(f.store, demoOutput), f.exitWhenIdle)
	}
	d.sayTry("")
	<-running.Done()
	return ended(ctx, running)
}

// start starts the cell, saves the context and says what is there.
func (d *dev) start(ctx context.Context, f *devFlags) (*readyLine, error) {
	nc, err := d.connect("dev")
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	before, err := lookAtLedger(ctx, nc)
	if err != nil {
		return nil, err
	}
	listener, err := listenHTTP(loopback, f.http.Value, true)
	if err != nil {
		return nil, err
	}
	served := httpOf(listener, natsd.Version)
	served.Anyone = &rights.Principal{Actor: d.actor, Grants: []rights.Grant{{Role: schemas.RoleAdmin}}} // no login on loopback
	served.Environment, served.Org = "dev", d.org
	if f.demo {
		served.Org = "acme" // the jobs of the demo are there, not in an org that is empty
	}
	if f.noUI {
		served.Console = nil
	}
	begun := time.Now()
	d.cell, err = startCell(ctx, cell.Config{Connect: d.connect, Tenants: d.nats, Logger: d.log, Version: version, RegisterUnknown: true, Actor: d.actor,
		GroupCommit: ledger.GroupCommitOff, // the store may be one of a server that syncs each write; this one does not
		Room:        roomOf(d.nats), Folds: savedFold(f.store), IndexDir: filepath.Join(f.store, indexFolder), HTTP: served})
	if err != nil {
		return nil, err
	}
	ready := &readyLine{Ready: true, NATSURL: d.nats.URL(), HTTPURL: httpURL(listener), Org: &d.org, Store: &f.store, ReplayedEvents: before.events, Version: version}
	d.talk("jobledger %s   NATS %s   data %s (kept between runs; --fresh wipes)", version, natsd.Version, f.store)
	saved := "context " + devContext + " saved"
	if err := newContexts(d.Getenv).save(devContext, natsContext{Description: "jobledger dev", URL: ready.NATSURL}, d.org); err != nil {
		d.log.Warn("the context could not be saved: give other commands --server", zap.Error(err))
		saved = "no context saved"
	} else {
		name := devContext
		ready.Context = &name
	}
	if f.port.Value != 0 && !strings.HasSuffix(ready.NATSURL, ":"+strconv.Itoa(f.port.Value)) {
		saved += fmt.Sprintf("; port %d is taken by another program", f.port.Value)
	}
	d.talk("  NATS      %-28s %s", ready.NATSURL, saved)
	moved := ""
	if f.http.Value != 0 && !strings.HasSuffix(*ready.HTTPURL, ":"+strconv.Itoa(f.http.Value)) {
		moved = fmt.Sprintf("; port %d is taken by another program", f.http.Value)
	}
	if !f.noUI {
		d.talk("  Console   %-28s in a browser", *ready.HTTPURL)
	}
	d.talk("  HTTP      %-28s /v1 /metrics /healthz /readyz%s", *ready.HTTPURL, moved)
	d.talk("  Org       %-28s no login on loopback", d.org)
	if before.events > 0 {
		client := &gateway.Client{Conn: nc, Org: d.org, Timeout: replayLimit}
		if _, err := client.Count(ctx, gateway.CountRequest{MinSeq: d.cell.info.End.Seq}); err != nil {
			d.log.Warn("the views are late", zap.Error(err))
		} else {
			d.talk("  replayed %s events in %.1f s", thousands(before.events), time.Since(begun).Seconds())
		}
	}
	if url := d.flags.Server.Value; url != "" {
		d.talk("  note      NATS_URL is set: other commands go to %s, not here", withoutPasswords(url))
	}
	return ready, nil
}

// talk says something to a person; with --json a program reads.
func (d *dev) talk(format string, args ...any) {
	if !d.flags.JSON {
		d.talkf(format, args...)
	}
}

// sayTry prints what to do next; deadID is a job of acme that failed, or nothing
// where no demo ran.
func (d *dev) sayTry(deadID schemas.JobID) {
	d.talk("  Try, in a second terminal:")
	if deadID == "" {
		d.talk(`    jobledger job submit echo '{"name":"Ada"}'`)
		d.talk("    jobledger worker run echo --exec cat --max-jobs 1")
	} else {
		d.talk(`    jobledger job submit echo '{"name":"Ada"}' --wait     # the demo's worker answers`)
		d.talk("    jobledger --org acme job ls --state dead_lettered     # what failed for good, and why")
		d.talk("    jobledger --org acme job history %s", deadID)
		d.talk("    jobledger --org acme dlq report                       # the same in groups")
		d.talk(`    jobledger --org acme dlq retry --type thumbnail --reason "once more" --dry-run`)
		d.talk("    jobledger worker ls")
	}
	d.talk("    jobledger job ls")
	d.talk("    jobledger log verify")
	d.talk("  Ctrl-C stops")
}

// devActor is who acts without a login: whoever started dev.
func (p *program) devActor() schemas.Actor {
	for _, name := range []string{p.Getenv("USER"), p.Getenv("USERNAME")} {
		if name != "" && schemas.CheckToken("user", name) == nil {
			return schemas.Actor{Type: "user", ID: name}
		}
	}
	return schemas.Actor{Type: "user", ID: "dev"}
}

// wipe removes what earlier runs kept in the data folder.
func wipe(store string) error {
	err := natsd.Wipe(store)
	var busy *natsd.FolderBusyError
	if errors.As(err, &busy) {
		return failf(ledger.CodeInUse, "%w", err)
	}
	for _, own := range []string{demoOutput, foldsFolder, indexFolder} {
		if err == nil {
			err = os.RemoveAll(filepath.Join(store, own))
		}
	}
	if err != nil {
		return failf(ledger.CodeInternal, "--fresh: %w", err)
	}
	return nil
}
