package main

import (
	"context"

	"github.com/choria-io/fisk"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addLogTail(log *fisk.CmdClause) {
	var f replayFlags
	cmd := p.command(log, "tail", "Follow the ledger", func(ctx context.Context) error { return p.tail(ctx, &f) })
	cmd.HelpLong(`Prints events as they are stored, from now or from --from on, until it is
stopped; then says the last sequence, so that --from can resume behind it.

Examples:

	jobledger log tail --org acme
	jobledger log tail --from 10m --event failed -j`)
	f.declare(cmd)
	cmd.Flag("format", "ndjson or cloudevents; on a terminal one readable line an event").EnumVar(&f.format, formatNDJSON, formatCloud)
}

func (p *program) tail(ctx context.Context, f *replayFlags) error {
	q, err := f.query(p)
	if err != nil {
		return err
	}
	l, err := p.openHistory(ctx, "log tail", p.logger(zap.WarnLevel))
	if err != nil {
		return err
	}
	defer l.Conn().Close()
	var last schemas.Seq
	form := &eventForm{program: p, format: f.form(p, "")}
	err = l.Follow(ctx, q, func(e *ledger.Entry) error {
		last = e.Seq
		line, err := form.append(nil, e)
		if err != nil {
			return err
		}
		_, err = p.Stdout.Write(line)
		return outputError(err)
	})
	if last > 0 {
		p.talkf("last seq %d", last)
	}
	return err
}
