package main

import (
	"context"
	"fmt"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addResource(app *fisk.Application) {
	resource := group(app, "resource", "Named things that jobs share: a carrier, an account, a machine")
	p.addResourceLs(resource)
	p.addResourceInfo(resource)
	p.addResourceSet(resource, "add", "Add a resource, with its limits")
	p.addResourceSet(resource, "edit", "Change a resource's limits")
}

func (p *program) addResourceLs(resource *fisk.CmdClause) {
	var format string
	cmd := p.command(resource, "ls", "List the resources that were set; any other has no limits", func(ctx context.Context) error {
		return p.withCell(ctx, "resource ls", func(ctx context.Context, c *gateway.Client) error {
			all, err := c.Resources(ctx)
			if err != nil {
				return err
			}
			if p.flags.JSON {
				return p.document(all)
			}
			g := &grid{Title: fmt.Sprintf("%d resources", len(all.Items)), Columns: []string{"resource", "max running", "start rate", "each org", "by", "description"}}
			for i := range all.Items {
				r := &all.Items[i]
				g.add(r.Name, limitText(r.MaxRunning), rateText(r.StartRate), yesNo(&r.PerOrg), deref(r.Actor), r.Description)
			}
			return p.printGrid(g, format)
		})
	})
	formatFlag(cmd, &format)
}

func (p *program) addResourceInfo(resource *fisk.CmdClause) {
	var name string
	var history bool
	cmd := p.command(resource, "info", "Show a resource and its limits", func(ctx context.Context) error {
		if err := schemas.CheckToken("resource", name); err != nil {
			return usagef("%w", err)
		}
		return p.withCell(ctx, "resource info", func(ctx context.Context, c *gateway.Client) error {
			if history {
				h, err := c.ResourceHistory(ctx, name)
				if err != nil {
					return err
				}
				return p.printSettingHistory(h)
			}
			r, err := c.Resource(ctx, name)
			if err != nil {
				return err
			}
			return p.printResource(r)
		})
	})
	cmd.Arg("resource", "The resource").Required().StringVar(&name)
	cmd.Flag("history", "All settings it ever had: who, when, why").UnNegatableBoolVar(&history)
}

func (p *program) printResource(r *gateway.Resource) error {
	if p.flags.JSON {
		return p.document(r)
	}
	shared := "all orgs share the limits"
	if r.PerOrg {
		shared = "each org has the limits to itself"
	}
	return p.printFacts(append([]fact{{"Resource", r.Name}, {"Description", r.Description}, {"Max running", limitText(r.MaxRunning)},
		{"Start rate", rateText(r.StartRate)}, {"Shared", shared}}, p.authorFacts(&r.SettingAuthor)...))
}

// resourceFlags are those of `resource add` and `resource edit`.
type resourceFlags struct {
	ifSeq                      option[schemas.Seq]
	name                       string
	description, running, rate option[any]
	perOrg, shared             bool
}

func (p *program) addResourceSet(resource *fisk.CmdClause, verb, help string) {
	var f resourceFlags
	cmd := p.command(resource, verb, help, func(ctx context.Context) error {
		if f.perOrg && f.shared {
			return usagef("give --per-org or --shared, not both")
		}
		m := &mutation{kind: "resource", name: f.name, isNew: verb == "add", ifSeq: f.ifSeq, changes: f.changes()}
		return p.mutate(ctx, m, func(ctx context.Context, c *gateway.Client, r gateway.SetRequest) error {
			set, err := c.SetResource(ctx, f.name, r)
			if err != nil {
				return err
			}
			return p.printResource(set)
		})
	})
	cmd.HelpLong(fmt.Sprintf(`A job names its resource when it is submitted (job submit --resource). A limit of 1 is
strict order: one job at a time, the oldest first. Only what is given changes; 0 is
unlimited.

Example:

	jobledger resource %s carrier-7 --max-running 1 --rate 10/1m --reason "their terms"`, verb))
	cmd.Arg("resource", "The resource").Required().StringVar(&f.name)
	if verb == "edit" {
		ifSeqFlag(cmd, &f.ifSeq)
	}
	optionFlag(cmd, "description", "What it is", &f.description, parseText).PlaceHolder("TEXT")
	optionFlag(cmd, "max-running", "Jobs of it that may run at once", &f.running, parseLimit).PlaceHolder("N")
	optionFlag(cmd, "rate", "Jobs of it that may start in a time, as in 10/1m, or none", &f.rate, parseRate).PlaceHolder("N/D")
	cmd.Flag("per-org", "Each org has the limits to itself").UnNegatableBoolVar(&f.perOrg)
	cmd.Flag("shared", "All orgs share the limits, as at first").UnNegatableBoolVar(&f.shared)
}

func (f *resourceFlags) changes() changes {
	c := changes{}
	c.set("description", f.description)
	c.set("max_running", f.running)
	c.set("start_rate", f.rate)
	if f.perOrg || f.shared {
		c["per_org"] = f.perOrg
	}
	return c
}
