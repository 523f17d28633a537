package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/choria-io/fisk"
	"github.com/dustin/go-humanize"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/backup"
	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/ledger"
)

func (p *program) addLogBackup(log *fisk.CmdClause) {
	var dir, rate string
	cmd := p.command(log, "backup", "Copy the ledger, while it runs", func(ctx context.Context) error {
		return p.backup(ctx, dir, rate)
	})
	cmd.HelpLong(`Copies all that cannot be folded again into a folder: events, archive, payloads.
Everything goes on meanwhile. The folder must be empty, or hold a backup that was
interrupted, which is then ended. The digest that it prints proves the whole copy:
keep it elsewhere. See docs/BACKUP.md.

Examples:

	jobledger log backup /backup/2026-11-26
	jobledger log backup /backup/2026-11-26 --rate 50MB --json`)
	cmd.Arg("dir", "Folder of the backup").Required().StringVar(&dir)
	cmd.Flag("rate", "Read at most so many bytes a second").PlaceHolder("BYTES").StringVar(&rate)
}

func (p *program) backup(ctx context.Context, dir, rate string) error {
	var perSecond uint64
	if rate != "" {
		var err error
		if perSecond, err = humanize.ParseBytes(rate); err != nil || perSecond == 0 {
			return usagef("--rate: %q is no number of bytes, such as 50MB", rate)
		}
	}
	log := p.logger(zap.WarnLevel)
	l, err := p.openHistory(ctx, "log backup", log)
	if err != nil {
		return err
	}
	defer l.Conn().Close()
	show := p.newLiveLine()
	done, err := backup.Run(ctx, backup.Config{Ledger: l, Logger: log, Dir: dir, Version: version, Rate: int64(perSecond),
		Progress: func(s backup.Progress) {
			show.set(func() string { return fmt.Sprintf("%s  %s of %s", s.Stream, thousands(s.Done), thousands(s.Last)) })
		}})
	show.clear()
	if err != nil {
		return backupError(err)
	}
	if p.flags.JSON {
		return p.document(done)
	}
	p.talkf("%s events (%d to %d) in %s, %s", thousands(done.Events), done.FirstSeq, done.LastSeq, dir, humanize.IBytes(uint64(done.Bytes)))
	return p.printf("%s\n", done.SHA256)
}

// backupError gives what is wrong with a backup its code.
func backupError(err error) error {
	if errors.Is(err, backup.ErrDamaged) {
		return failf(ledger.CodeInvalidArgument, "%w", err)
	}
	return err
}

// restoreFlags say where a backup is put.
type restoreFlags struct {
	dir, store, replicas, sum string
}

func (p *program) addLogRestore(log *fisk.CmdClause) {
	var f restoreFlags
	cmd := p.command(log, "restore", "Put a backup into an empty store", func(ctx context.Context) error {
		return p.restore(ctx, &f)
	})
	cmd.HelpLong(`With --store into a data folder that no server uses yet, else into the account of
the NATS server that --server or the context names. No jobledger server may run there:
the store must be empty. Every part of the backup is read and compared before anything
is created. Interrupted, it is run again. See docs/BACKUP.md.

Examples:

	jobledger log restore /backup/2026-11-26 --store /var/lib/jobledger
	jobledger log restore /backup/2026-11-26 --server nats://n1:4222 --replicas 3`)
	cmd.Arg("dir", "Folder of the backup").Required().StringVar(&f.dir)
	cmd.Flag("store", "Data folder of a server with an embedded NATS").PlaceHolder("DIR").StringVar(&f.store)
	cmd.Flag("replicas", "Replicas of the streams: 1, 3 or 5; as many as a cluster can give, up to 3, unless set").PlaceHolder("N").StringVar(&f.replicas)
	cmd.Flag("sha256", "Digest that log backup printed").PlaceHolder("HEX").StringVar(&f.sum)
}

func (p *program) restore(ctx context.Context, f *restoreFlags) error {
	if f.store != "" && (p.flags.Server.fromFlag || p.flags.Context.fromFlag) {
		return usagef("--store names a data folder, --server and --context a running NATS: give one of them")
	}
	if f.replicas != "" && f.replicas != "1" && f.replicas != "3" && f.replicas != "5" {
		return usagef("--replicas: %q is not 1, 3 or 5", f.replicas)
	}
	if f.store != "" && f.replicas != "" && f.replicas != "1" {
		return usagef("--replicas %s: an embedded server is one", f.replicas)
	}
	if p.flags.DryRun {
		return usagef("a restore cannot be tried: its first step, which compares all of the backup, creates nothing")
	}
	log := p.logger(zap.WarnLevel)
	nc, stop, err := p.restoreTarget(ctx, f, log)
	if err != nil {
		return err
	}
	defer stop()
	show := p.newLiveLine()
	began := time.Now()
	done, err := backup.Restore(ctx, backup.RestoreConfig{Conn: nc, Logger: log, Dir: f.dir, Replicas: f.replicasOn(nc), SHA256: f.sum,
		Progress: func(s backup.RestoreProgress) {
			show.set(func() string {
				what := "put back"
				if s.Checking {
					what = "compared"
				}
				return fmt.Sprintf("%s  %s of %s %s", s.Stream, humanize.IBytes(uint64(s.Done)), humanize.IBytes(uint64(s.Bytes)), what)
			})
		}})
	show.clear()
	if err != nil {
		return backupError(err)
	}
	if p.flags.JSON {
		return p.document(done)
	}
	p.talkf("%s events (%d to %d) put back in %.1f s: start a server, then run jobledger log verify", thousands(done.Events), done.FirstSeq, done.LastSeq,
		time.Since(began).Seconds())
	return nil
}

// restoreTarget connects to where the backup goes; stop also ends the server of a data folder.
func (p *program) restoreTarget(ctx context.Context, f *restoreFlags, log *zap.Logger) (nc *nats.Conn, stop func(), err error) {
	if f.store == "" {
		t, err := p.resolveTarget()
		if err != nil {
			return nil, nil, err
		}
		if nc, err = p.connect(t, "log restore"); err != nil {
			return nil, nil, err
		}
		return nc, nc.Close, nil
	}
	server, err := startNATS(ctx, natsd.Config{StoreDir: f.store, DontListen: true, Logger: log})
	if err != nil {
		return nil, nil, err
	}
	nc, err = inProcess(server)("log restore")
	if err != nil {
		server.Shutdown()
		return nil, nil, err
	}
	return nc, func() { nc.Close(); server.Shutdown() }, nil
}

// replicasOn is what was asked for, else what the servers can give.
func (f *restoreFlags) replicasOn(nc *nats.Conn) int {
	switch {
	case f.replicas != "":
		n, _ := strconv.Atoi(f.replicas) // checked
		return n
	case nc.ConnectedClusterName() != "" && len(nc.Servers()) >= clusterReplicas:
		return clusterReplicas
	}
	return 1
}
