package main

import (
	"context"
	"fmt"
	"time"

	"github.com/choria-io/fisk"
	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
)

func (p *program) addServerInfo(server *fisk.CmdClause) {
	info := p.command(server, "info", "Show what runs: leader, ledger, archive, storage, views", p.showServer)
	info.HelpLong(`Asks in the ledger's own account. What nobody tells is null.

Example:

	jobledger server info --json | jq .storage`)
}

func (p *program) showServer(ctx context.Context) error {
	l, err := p.openLedger(ctx, "server info", p.logger(zap.WarnLevel))
	if err != nil {
		return err
	}
	defer l.Conn().Close()
	info, err := gateway.LookAtCell(ctx, l)
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(info)
	}
	g := &grid{Title: "Cell " + info.Cell, Columns: []string{"what", "value"}}
	g.add("version", info.Version)
	g.add("nats", fmt.Sprintf("%s, replicas %d", info.NATSVersion, info.Replicas))
	if info.Leader != nil {
		g.add("leader", *info.Leader)
	} else {
		g.add("leader", "none at the moment")
	}
	g.add("ledger", fmt.Sprintf("%s to %s, %s events, %s", thousands(info.Ledger.FirstSeq), thousands(info.Ledger.LastSeq), thousands(info.Ledger.Messages),
		humanize.IBytes(info.Ledger.Bytes)))
	if a := info.Archive; a != nil && a.Segments > 0 {
		g.add("archive", fmt.Sprintf("through %d, %s events in %d segments", a.Through.Seq, thousands(uint64(a.Events)), a.Segments))
	}
	if r := info.Retention; r != nil && (r.Held > 0 || r.Leaving > 0) {
		g.add("retention", fmt.Sprintf("%d segments wait for a legal hold, %d are removed and still to be deleted", r.Held, r.Leaving))
	}
	if a := info.Archiver; a != nil && (a.HotWindowS > 0 || a.Error != "") {
		g.add("archiver", archiverText(a, p.Now()))
	}
	g.add("storage", storageText(info.Storage))
	for _, v := range info.Projections {
		g.add("view "+v.Name, fmt.Sprintf("at %s, %s events behind", thousands(uint64(v.Seq)), thousands(v.LagEvents)))
	}
	return p.list(g)
}

func archiverText(a *gateway.ArchiverInfo, now time.Time) string {
	window := time.Duration(a.HotWindowS * float64(time.Second))
	text := fmt.Sprintf("hot window %s, in time", window)
	if a.BehindS > 0 {
		text = fmt.Sprintf("hot window %s, %s behind", window, time.Duration(a.BehindS)*time.Second)
	}
	if h := a.Held; h != nil {
		text += fmt.Sprintf("; held by %s at %d: %s", h.Subject, h.Seq, h.Why)
		if late := h.Late(window, now); late > window {
			text += fmt.Sprintf(", for %s longer than it should", late.Round(time.Second))
		}
	}
	if a.Error != "" {
		text += fmt.Sprintf("; last error at %s: %s", a.ErrorAt.Format(time.RFC3339), a.Error)
	}
	return text
}

func storageText(s *ledger.Space) string {
	switch {
	case s == nil:
		return "no server answers"
	case s.Total == 0:
		return "no limit is known"
	}
	return fmt.Sprintf("%s: %s of %s free, %s kept for jobs that exist", s.State, humanize.IBytes(uint64(max(s.Free, 0))), humanize.IBytes(uint64(s.Total)),
		humanize.IBytes(uint64(s.Reserve)))
}
