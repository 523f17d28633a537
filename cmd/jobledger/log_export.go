package main

import (
	"context"
	"fmt"

	"github.com/choria-io/fisk"
	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/backup"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addLogExport(log *fisk.CmdClause) {
	var dir string
	cmd := p.command(log, "export", "Write one org's whole history, to be read without jobledger", func(ctx context.Context) error {
		return p.export(ctx, dir)
	})
	cmd.HelpLong(`Writes every event of the org's jobs as CloudEvents, one a line, also those that have
left for the archive, and the payloads that they name as files, with digests of all of
it. The folder must be empty, or hold an export that was interrupted, which goes on
behind its last part. Events alone: log replay --format cloudevents.

Example:

	jobledger log export --org acme /export/acme`)
	cmd.Arg("dir", "Folder of the export").Required().StringVar(&dir)
}

func (p *program) export(ctx context.Context, dir string) error {
	org := p.flags.Org.Value
	if org == "" {
		return usagef("--org: name the org whose history is to be exported")
	}
	log := p.logger(zap.WarnLevel)
	l, err := p.openHistory(ctx, "log export", log)
	if err != nil {
		return err
	}
	defer l.Conn().Close()
	show := p.newLiveLine()
	done, err := backup.Export(ctx, backup.ExportConfig{Ledger: l, Logger: log, Org: schemas.OrgID(org), Dir: dir, Version: version,
		Progress: func(at, last schemas.Seq) {
			show.set(func() string { return fmt.Sprintf("%s of %s", thousands(uint64(at)), thousands(uint64(last))) })
		}})
	show.clear()
	if err != nil {
		return backupError(err)
	}
	if p.flags.JSON {
		return p.document(done)
	}
	p.talkf("%s events (%d to %d) of %s and %s payloads in %s, %s", thousands(uint64(done.Events)), done.FirstSeq, done.LastSeq, org,
		thousands(uint64(done.Payloads)), dir, humanize.IBytes(uint64(done.Bytes)))
	if done.Missing > 0 {
		p.talkf("%d payloads are missing: the manifest names them", done.Missing)
	}
	return p.printf("%s\n", done.SHA256)
}
