package main

import (
	"context"
	"fmt"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addOrg(app *fisk.Application) {
	org := group(app, "org", "Tenants: their shares and limits")
	p.addOrgLs(org)
	p.addOrgInfo(org)
	p.addOrgSet(org, "add", "Add an org, with its share and limits")
	p.addOrgSet(org, "edit", "Change an org's share and limits")
	p.addOrgState(org, "suspend", "Park an org's waiting and new jobs", schemas.OrgSuspended, `Jobs that run end as ever; those that wait, and those that are submitted, keep their
place and do not start; results are withheld. Nothing is lost, and nothing is
dead-lettered.

Example:

	jobledger org suspend acme --reason "invoice 4711 is unpaid"`)
	p.addOrgState(org, "resume", "Let a suspended org's jobs start again", schemas.OrgActive, `Example:

	jobledger org resume acme --reason "paid"`)
	p.addOrgRm(org)
	p.addOrgToken(org)
	p.addOrgUsage(org)
}

func (p *program) addOrgLs(org *fisk.CmdClause) {
	var format string
	var withJobs bool
	cmd := p.command(org, "ls", "List the orgs that were set; any other has the defaults", func(ctx context.Context) error {
		return p.withCell(ctx, "org ls", func(ctx context.Context, c *gateway.Client) error {
			list := c.Orgs
			if withJobs {
				list = c.OrgsWithJobs
			}
			all, err := list(ctx)
			if err != nil {
				return err
			}
			if p.flags.JSON {
				return p.document(all)
			}
			g := &grid{Title: fmt.Sprintf("%d orgs", len(all.Items)),
				Columns: []string{"org", "state", "weight", "max running", "max waiting", "submit rate", "start rate", "updated", "by"}}
			for i := range all.Items {
				o := &all.Items[i]
				updated := ""
				if o.At != nil {
					updated = p.listTime(*o.At)
				}
				g.add(string(o.Name), string(o.State), fmt.Sprint(o.Weight), limitText(o.MaxRunning), limitText(o.MaxWaiting),
					rateText(o.SubmitRate), rateText(o.StartRate), updated, deref(o.Actor))
			}
			return p.printGrid(g, format)
		})
	})
	cmd.Flag("all", "Those that have jobs and were never set, too").UnNegatableBoolVar(&withJobs)
	formatFlag(cmd, &format)
}

func (p *program) addOrgInfo(org *fisk.CmdClause) {
	var name string
	var history bool
	cmd := p.command(org, "info", "Show an org, its limits and its jobs", func(ctx context.Context) error {
		if name == "" {
			t, err := p.resolveTarget()
			if err != nil {
				return err
			}
			own, err := p.org(t)
			if err != nil {
				return err
			}
			name = string(own)
		}
		if err := schemas.CheckToken("org", name); err != nil {
			return usagef("%w", err)
		}
		return p.withCell(ctx, "org info", func(ctx context.Context, c *gateway.Client) error {
			if history {
				h, err := c.OrgHistory(ctx, schemas.OrgID(name))
				if err != nil {
					return err
				}
				return p.printSettingHistory(h)
			}
			o, err := c.OrgInfo(ctx, schemas.OrgID(name))
			if err != nil {
				return err
			}
			return p.printOrg(o)
		})
	})
	cmd.Arg("org", "The org; the one in use if absent").StringVar(&name)
	cmd.Flag("history", "All settings it ever had: who, when, why").UnNegatableBoolVar(&history)
}

func (p *program) printOrg(o *gateway.Org) error {
	if p.flags.JSON {
		return p.document(o)
	}
	jobs := ""
	if c := o.Counts; c != nil {
		jobs = fmt.Sprintf("%d waiting, %d queued, %d running, %d retrying, %d dead letters open", c.Submitted, c.Queued, c.Running, c.Retrying, c.DeadLettersOpen)
	}
	return p.printFacts(append([]fact{
		{"Org", string(o.Name)}, {"Name", o.DisplayName}, {"State", string(o.State)}, {"Weight", fmt.Sprint(o.Weight)},
		{"Max running", limitText(o.MaxRunning)}, {"Max waiting", limitText(o.MaxWaiting)},
		{"Submit rate", rateText(o.SubmitRate)}, {"Start rate", rateText(o.StartRate)}, {"Retention", retentionText(o.RetentionDays)}, {"Jobs", jobs},
	}, p.authorFacts(&o.SettingAuthor)...))
}

// orgFlags are those of `org add` and `org edit`.
type orgFlags struct {
	ifSeq                                                               option[schemas.Seq]
	name                                                                string
	display, weight, running, waiting, submitRate, startRate, retention option[any]
	account, ledgerAccount, role                                        string // of add
}

func (p *program) addOrgSet(org *fisk.CmdClause, verb, help string) {
	var f orgFlags
	cmd := p.command(org, verb, help, func(ctx context.Context) error {
		m := &mutation{kind: "org", name: f.name, isNew: verb == "add", ifSeq: f.ifSeq, changes: f.changes()}
		return p.mutate(ctx, m, func(ctx context.Context, c *gateway.Client, r gateway.SetRequest) error {
			o, err := c.SetOrg(ctx, schemas.OrgID(f.name), r)
			if err != nil {
				return err
			}
			if f.account != "" {
				return p.addOrgAccount(ctx, c, &f, r.Reason)
			}
			return p.printOrg(o)
		})
	})
	cmd.HelpLong(fmt.Sprintf(`Only what is given changes. 0 is unlimited; "default" takes a value back to the
engine's: weight 1, %d jobs running at once, no other limit. A change acts within a
second on every server; jobs that run are left alone.

Example:

	jobledger org %s acme --weight 3 --max-running 50 --max-waiting 10000 --reason "plan business"`, schemas.OrgRunningDefault, verb))
	cmd.Arg("org", "The org").Required().StringVar(&f.name)
	if verb == "edit" {
		ifSeqFlag(cmd, &f.ifSeq)
	} else {
		natsAccountFlags(cmd, &f.account, &f.ledgerAccount)
		cmd.Flag("role", "Of that account: operator, auditor, member, publisher or worker").Default(string(schemas.RoleOperator)).StringVar(&f.role)
	}
	optionFlag(cmd, "display-name", "Its name for people", &f.display, parseText).PlaceHolder("TEXT")
	optionFlag(cmd, "weight", "Its share of the turns of every queue", &f.weight, parseWeight).PlaceHolder("N")
	optionFlag(cmd, "max-running", "Jobs that may run at once", &f.running, parseLimit).PlaceHolder("N")
	optionFlag(cmd, "max-waiting", "Unfinished jobs beside the running ones; over it submits are refused", &f.waiting, parseLimit).PlaceHolder("N")
	optionFlag(cmd, "submit-rate", "Jobs that may be submitted in a time, as in 100/1m, or none", &f.submitRate, parseRate).PlaceHolder("N/D")
	optionFlag(cmd, "rate", "Jobs that may start in a time, or none", &f.startRate, parseRate).PlaceHolder("N/D")
	optionFlag(cmd, "retention", "How long history is kept behind the end of its job, as in 365d", &f.retention, parseRetention).PlaceHolder("D")
}

// addOrgAccount gives an account of an outside NATS a role in an org that was added.
func (p *program) addOrgAccount(ctx context.Context, c *gateway.Client, f *orgFlags, reason string) error {
	made, err := c.AddToken(ctx, schemas.OrgID(f.name), gateway.AddTokenRequest{Title: f.account, Role: schemas.Role(f.role), NATSAccount: f.account, Reason: reason})
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(made)
	}
	return p.printAccount(made, f.ledgerAccount)
}

func (f *orgFlags) changes() changes {
	c := changes{}
	c.set("display_name", f.display)
	c.set("weight", f.weight)
	c.set("max_running", f.running)
	c.set("max_waiting", f.waiting)
	c.set("submit_rate", f.submitRate)
	c.set("start_rate", f.startRate)
	c.set("retention_days", f.retention)
	return c
}

func (p *program) addOrgState(org *fisk.CmdClause, verb, help string, state schemas.OrgState, long string) {
	var name string
	var ifSeq option[schemas.Seq]
	cmd := p.command(org, verb, help, func(ctx context.Context) error {
		m := &mutation{kind: "org", name: name, ifSeq: ifSeq, changes: changes{"state": state}}
		return p.mutate(ctx, m, func(ctx context.Context, c *gateway.Client, r gateway.SetRequest) error {
			o, err := c.SetOrg(ctx, schemas.OrgID(name), r)
			if isNotFound(err) && state == schemas.OrgSuspended { // never set: an org like any other
				r.New = true
				o, err = c.SetOrg(ctx, schemas.OrgID(name), r)
			}
			if err != nil {
				return err
			}
			return p.printOrg(o)
		})
	})
	cmd.HelpLong(long)
	cmd.Arg("org", "The org").Required().StringVar(&name)
	ifSeqFlag(cmd, &ifSeq)
}
