package main

import (
	"context"
	"fmt"
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

// noticeFlags are those of `notice`.
type noticeFlags struct {
	owner, cursor, format, through string
	all                            bool
	limit                          option[int]
}

func (p *program) addNotice(app *fisk.Application) {
	notice := group(app, "notice", "Which of one's jobs have ended")
	p.addNoticeLs(notice)
	p.addNoticeRead(notice)
}

func (f *noticeFlags) declare(cmd flagOwner) {
	cmd.Flag("owner", "Whose; your own if not given, and needed in the cell's own account").PlaceHolder("OWNER").StringVar(&f.owner)
}

func (f *noticeFlags) check() error {
	if f.owner == "" {
		return nil
	}
	if _, err := schemas.ParseActor(f.owner); err != nil {
		return usagef("--owner: %w", err)
	}
	return nil
}

func (p *program) addNoticeLs(notice *fisk.CmdClause) {
	var f noticeFlags
	cmd := p.command(notice, "ls", "List the jobs that have ended and of which that was not read, the latest first", func(ctx context.Context) error { return p.listNotices(ctx, &f) })
	cmd.HelpLong(fmt.Sprintf(`A notice is the end of a job. An owner has those of the %d jobs that ended last, in %d
days. They are unread until "notice read".

Examples:

	jobledger notice ls
	jobledger notice ls --all --owner user:ada`, gateway.NoticesMax, int(gateway.NoticesAge/(24*time.Hour))))
	f.declare(cmd)
	cmd.Flag("all", "Those that were read, too").UnNegatableBoolVar(&f.all)
	optionFlag(cmd, "limit", fmt.Sprintf("Rows, %d by default, %d at most", gateway.LimitDefault, gateway.LimitMax), &f.limit, parseInt).PlaceHolder("N")
	cmd.Flag("cursor", "Where the last page ended").PlaceHolder("CURSOR").StringVar(&f.cursor)
	cmd.Flag("format", "table or csv").EnumVar(&f.format, "table", "csv")
}

func (p *program) listNotices(ctx context.Context, f *noticeFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	if f.limit.Set && (f.limit.Value < 1 || f.limit.Value > gateway.LimitMax) {
		return usagef("--limit must be 1 to %d", gateway.LimitMax)
	}
	c, err := p.openClient("notice ls")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	page, err := c.Notices(ctx, gateway.NoticesRequest{Owner: f.owner, Unread: !f.all, Limit: f.limit.Or(0), Cursor: f.cursor})
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(page)
	}
	g := &grid{Title: fmt.Sprintf("%d unread notices of %s", page.Unread, page.Owner), Columns: []string{"id", "type", "state", "reason", "finished", "read", "error"}}
	for i := range page.Items {
		n := &page.Items[i]
		reason, message, read, at := "", "", "", p.listTime(n.FinishedAt)
		if n.Reason != nil {
			reason = *n.Reason
		}
		if n.Error != nil {
			message = clip(n.Error.Message, errorCellMax)
		}
		if n.Read {
			read = "yes"
		}
		if f.format == "csv" {
			at = csvTime(&n.FinishedAt)
		}
		g.add(string(n.ID), string(n.Type), string(n.State), reason, at, read, message)
	}
	if f.format == "csv" {
		return outputError(g.writeCSV(p.Stdout))
	}
	if err := p.list(g); err != nil {
		return err
	}
	if page.Next != nil {
		p.talkf("next: --cursor %s", *page.Next)
	}
	return nil
}

func (p *program) addNoticeRead(notice *fisk.CmdClause) {
	var f noticeFlags
	cmd := p.command(notice, "read", "Note that the notices were read", func(ctx context.Context) error { return p.readNotices(ctx, &f) })
	cmd.HelpLong(`Examples:

	jobledger notice read
	jobledger notice read --through 2026-11-26T18:00:00Z`)
	f.declare(cmd)
	cmd.Flag("through", "Those of jobs that ended until then; all if not given").PlaceHolder("TIME").StringVar(&f.through)
}

func (p *program) readNotices(ctx context.Context, f *noticeFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	req := gateway.ReadNoticesRequest{Owner: f.owner}
	if f.through != "" {
		t, err := parseTime(f.through, p.Now(), p.flags.zone, -1)
		if err != nil {
			return usagef("--through: %w", err)
		}
		req.Through = &t
	}
	c, err := p.openClient("notice read")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	reply, err := c.ReadNotices(ctx, req)
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(reply)
	}
	if reply.ReadThrough == nil {
		p.talkf("%s has no notices to read", reply.Owner)
		return nil
	}
	p.talkf("notices of %s are read through %s", reply.Owner, p.recordTime(*reply.ReadThrough))
	return nil
}
