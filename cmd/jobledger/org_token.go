package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

// tokenFlags are those of `org token add`.
type tokenFlags struct {
	org, title, role, actor, expires string
	natsAccount, ledgerAccount       string
	permissions                      []string
	allOrgs                          bool
}

func (p *program) addOrgToken(org *fisk.CmdClause) {
	token := group(org, "token", "Credentials for HTTP and NATS: who may do what in an org")
	p.addTokenAdd(token)
	p.addTokenLs(token)
	p.addTokenRm(token)
}

func (p *program) addTokenAdd(token *fisk.CmdClause) {
	var f tokenFlags
	cmd := p.command(token, "add", "Make a token: its secret is printed once, and stored nowhere", func(ctx context.Context) error { return p.addToken(ctx, &f) })
	cmd.HelpLong(`The secret alone goes to stdout. Over HTTP send it as "Authorization: Bearer SECRET"; to the
embedded NATS server show it as token: --token SECRET. There its holder is in an account of
his own, from which the service of his org can be asked, and nothing else is there. What
each role may do stands in docs/RIGHTS.md:

	member      submits in its own name; sees and cancels its own jobs
	operator    works on all jobs of the org
	auditor     sees all of the org, changes nothing
	publisher   submits for others; sees and cancels what it submitted
	worker      runs jobs
	admin       everything, of every org: with --all-orgs

Examples:

	jobledger org token add acme ci --role operator --expires 90d --reason "deploys"
	jobledger org token add acme ada --role member --for user:ada --reason "ada joined"
	jobledger org token add --all-orgs root --role admin --reason "the platform team"
	jobledger org token add acme shop --role publisher --nats-account ACME-SHOP --reason "the shop"`)
	cmd.Arg("org", "The org; with --all-orgs the name").StringVar(&f.org)
	cmd.Arg("name", "What tells it from others").StringVar(&f.title)
	cmd.Flag("role", "member, operator, auditor, publisher, worker or admin").Required().StringVar(&f.role)
	cmd.Flag("for", "Who acts with it, as events name it; api_key:NAME if not given").PlaceHolder("ACTOR").StringVar(&f.actor)
	cmd.Flag("permission", "A permission that types ask members for, or payloads.unmask; repeatable").PlaceHolder("NAME").StringsVar(&f.permissions)
	cmd.Flag("expires", "When it ends: a time, or from now; never if not given").PlaceHolder("TIME").StringVar(&f.expires)
	natsAccountFlags(cmd, &f.natsAccount, &f.ledgerAccount)
	cmd.Flag("all-orgs", "Of every org: for role admin").UnNegatableBoolVar(&f.allOrgs)
}

// check reads the flags; org is the one that the request goes to.
func (f *tokenFlags) check() (org schemas.OrgID, err error) {
	if f.allOrgs {
		if f.title != "" {
			return "", usagef("with --all-orgs no org is named: give the name alone")
		}
		f.org, f.title = anyOrg, f.org
	}
	admin := f.role == string(schemas.RoleAdmin)
	switch {
	case f.org == "" || f.title == "":
		return "", usagef("an org and a name are needed: jobledger org token add ORG NAME --role ROLE")
	case admin && !f.allOrgs:
		return "", usagef("an admin is one of every org: give --all-orgs and no org")
	case !admin && f.allOrgs:
		return "", usagef("role %s is of one org: only an admin is of all", f.role)
	}
	if err := schemas.CheckToken("org", f.org); err != nil {
		return "", usagef("%w", err)
	}
	return schemas.OrgID(f.org), nil
}

func (p *program) addToken(ctx context.Context, f *tokenFlags) error {
	org, err := f.check()
	if err != nil {
		return err
	}
	r := gateway.AddTokenRequest{Title: f.title, Role: schemas.Role(f.role), Actor: f.actor, Permissions: f.permissions, NATSAccount: f.natsAccount}
	if f.expires != "" {
		at, err := parseTime(f.expires, p.Now(), p.flags.zone, +1)
		if err != nil {
			return usagef("--expires: %w", err)
		}
		r.ExpiresAt = &at
	}
	if r.Reason, err = p.reason(); err != nil {
		return err
	}
	return p.withCell(ctx, "org token add", func(ctx context.Context, c *gateway.Client) error {
		made, err := c.AddToken(ctx, org, r)
		if err != nil {
			return err
		}
		if p.flags.JSON {
			return p.document(made)
		}
		if f.natsAccount != "" {
			return p.printAccount(made, f.ledgerAccount)
		}
		p.talkf("token %s: %s of %s, acts as %s; it is shown this once", made.ID, made.Role, tokenOrg(&made.Token), made.Acts)
		_, err = fmt.Fprintln(p.Stdout, made.Secret)
		return err
	})
}

func tokenOrg(t *gateway.Token) string {
	if t.Org == nil {
		return "every org"
	}
	return string(*t.Org)
}

func (p *program) addTokenLs(token *fisk.CmdClause) {
	var org, format string
	cmd := p.command(token, "ls", "List the tokens of an org, or of all; revoked ones too", func(ctx context.Context) error {
		if org != "" {
			if err := schemas.CheckToken("org", org); err != nil {
				return usagef("%w", err)
			}
		}
		return p.withCell(ctx, "org token ls", func(ctx context.Context, c *gateway.Client) error {
			asked := schemas.OrgID(org)
			if org == "" {
				asked = anyOrg
			}
			all, err := c.Tokens(ctx, asked, org == "")
			if err != nil {
				return err
			}
			if p.flags.JSON {
				return p.document(all)
			}
			return p.printGrid(p.tokenGrid(all), format)
		})
	})
	cmd.Arg("org", "The org; all if absent").StringVar(&org)
	formatFlag(cmd, &format)
}

func (p *program) tokenGrid(all *gateway.Tokens) *grid {
	g := &grid{Title: fmt.Sprintf("%d tokens", len(all.Items)), Columns: []string{"id", "org", "name", "role", "acts as", "permissions", "expires", "state", "updated", "by"}}
	for i := range all.Items {
		t := &all.Items[i]
		state, expires, updated := "active", "never", ""
		if t.ExpiresAt != nil {
			expires = t.ExpiresAt.In(p.flags.zone).Format(time.DateTime)
			if !p.Now().Before(*t.ExpiresAt) {
				state = "expired"
			}
		}
		if t.Revoked {
			state = "revoked"
		}
		if t.At != nil {
			updated = p.listTime(*t.At)
		}
		g.add(t.ID, tokenOrg(t), t.Name, string(t.Role), t.Acts, strings.Join(t.Permissions, " "), expires, state, updated, deref(t.Actor))
	}
	return g
}

func (p *program) addTokenRm(token *fisk.CmdClause) {
	var id string
	cmd := p.command(token, "rm", "Revoke a token for good, within two seconds", func(ctx context.Context) error {
		if err := schemas.CheckToken("token id", id); err != nil {
			return usagef("%w", err)
		}
		reason, err := p.reason()
		if err != nil {
			return err
		}
		return p.withCell(ctx, "org token rm", func(ctx context.Context, c *gateway.Client) error {
			t, err := c.RevokeToken(ctx, id, reason)
			if err != nil {
				return err
			}
			if p.flags.JSON {
				return p.document(t)
			}
			p.talkf("token %s (%s) opens nothing any more", t.ID, t.Name)
			return nil
		})
	})
	cmd.HelpLong(`Example:

	jobledger org token rm 5f2a9c0e11d84b37 --reason "it leaked"`)
	cmd.Arg("id", "The token's id, as ls shows it: not its secret").Required().StringVar(&id)
}
