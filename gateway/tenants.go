package gateway

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Requests of tenants arrive on jobledger-as.<account>.<org>.<verb>[.<name>], which only the import of the tenant's own NATS
// account leads to: the server puts the account's name there, so nobody speaks for another one. The account's name is the
// id of a token, which says who calls, in what role and in which org; the subject's org must be that one. Two doors, one
// credential: what it may do, until when, and that it was revoked stands in the ledger.

// NameAs is the first token of the subjects on which requests of tenants' accounts arrive.
const NameAs = "jobledger-as"

// Login is whom a secret stands for at the NATS server: an account, what it imports, where that leads, and until when. It is
// an alias, so that the server need not know this package.
type Login = struct {
	Account, From, To string
	Expires           time.Time
}

// refusal is the error of a secret that opens nothing. The NATS server knows it by its method: after any other error it has
// the client come again, for one that is refused gives up.
type refusal struct{ error }

// Refused tells it from a failure.
func (refusal) Refused() bool { return true }

// Unwrap returns the error.
func (r refusal) Unwrap() error { return r.error }

// Login recognises who comes to the NATS server with a secret, while Run runs. An error with a method Refused() bool that
// answers true says that the secret opens nothing, any other that it is not known.
func (g *Gateway) Login(ctx context.Context, secret string) (Login, error) {
	if !g.takes() {
		return Login{}, errClosed
	}
	t, err := g.door.holder(ctx, secret)
	if err != nil && ledger.AsError(err).Code == ledger.CodeUnauthenticated {
		return Login{}, refusal{err}
	}
	if err != nil {
		return Login{}, err
	}
	l := loginOf(t.ID, t.Org)
	if t.ExpiresAt != nil {
		l.Expires = *t.ExpiresAt
	}
	return l, nil
}

// loginOf is what the account of a token imports: the service of its org, or of all.
func loginOf(id string, org schemas.OrgID) Login {
	if org == "" {
		return Login{Account: id, From: Name + ".>", To: NameAs + "." + id + ".>"}
	}
	return Login{Account: id, From: Name + "." + string(org) + ".>", To: NameAs + "." + id + "." + string(org) + ".>"}
}

// Import is what a NATS account by the name of the token's id is to import.
func (t *Token) Import() Login {
	if t.Org == nil {
		return loginOf(t.ID, "")
	}
	return loginOf(t.ID, *t.Org)
}

// verbs finds the endpoint of what stands behind the org, such as get.4711 or worker.ls.
type verbs map[string]*endpoint

func verbsOf(all []*endpoint) verbs {
	v := make(verbs, len(all))
	for _, ep := range all {
		v[ep.pattern] = ep
	}
	return v
}

func (v verbs) find(verb string) *endpoint {
	if ep := v[verb]; ep != nil {
		return ep
	}
	if i := strings.LastIndexByte(verb, '.'); i >= 0 {
		return v[verb[:i]+".*"]
	}
	return nil
}

// takeTenant takes a request of a tenant's account.
func (g *Gateway) takeTenant(waits, work context.Context, m micro.Request) {
	_, rest, _ := strings.Cut(m.Subject(), ".") // what follows is not empty: the subject matched
	account, subject, _ := strings.Cut(rest, ".")
	r := newRequest(m, NameAs+"."+subject)
	r.account = account
	_, verb, _ := strings.Cut(subject, ".")
	ep := g.verbs.find(verb)
	if ep == nil {
		ep = &endpoint{name: "unknown", action: rights.JobsRead, handle: func(context.Context, *request) ([]byte, error) {
			return nil, ledger.Errorf(ledger.CodeNotFound, "there is no verb %s", verb)
		}}
	}
	ctx := work
	if ep.waits {
		ctx = waits
	}
	g.take(ctx, ep, r)
}

// asTenant carries a request out as whom its account stands for. A right that went while it waited opens nothing.
func (g *Gateway) asTenant(ctx context.Context, ep *endpoint, r *request) ([]byte, error) {
	p, err := g.door.account(ctx, r.account)
	if err != nil {
		return nil, err
	}
	body, err := g.run(withCaller(ctx, p), ep, r)
	if err != nil || !ep.waits {
		return body, err
	}
	// ctx may have ended with the wait.
	now, err := g.door.account(context.WithoutCancel(ctx), r.account)
	switch {
	case err != nil:
		return nil, err
	case !reflect.DeepEqual(now, p):
		return nil, ledger.Errorf(ledger.CodePermissionDenied, "the rights of %s changed meanwhile: ask again", p.Actor)
	}
	return body, nil
}

// account returns whom a tenant's account stands for.
func (d *doorkeeper) account(ctx context.Context, id string) (*rights.Principal, error) {
	t, err := d.token(ctx, id)
	if err != nil {
		return nil, err
	}
	return principalOf(t), nil
}

// watchTokens calls Config.Revoked, until ctx ends, and tells the doorkeeper which tokens there are. ready is called once no
// revocation is missed.
func (g *Gateway) watchTokens(ctx context.Context, ready func()) error {
	ready = sync.OnceFunc(ready)
	ctx, stop := context.WithCancel(ctx)
	var learning sync.WaitGroup
	defer learning.Wait()
	defer stop()
	for {
		if err := g.cfg.Feed.WaitFor(ctx, 0); err != nil {
			return err
		}
		c := g.cfg.Feed.Subscribe(g.cfg.Feed.Last())
		ready()
		learning.Go(func() { // beside: a revocation does not wait for it
			if err := g.door.learn(ctx); err != nil && ctx.Err() == nil {
				g.log.Warn("tokens that were not used yet count as strangers", zap.Error(err))
			}
		})
		err := g.followTokens(ctx, c)
		c.Close()
		if !errors.Is(err, ledger.ErrPositionExpired) {
			return err
		}
		g.revoked("") // the ledger went back
	}
}

func (g *Gateway) revoked(token string) {
	if g.cfg.Revoked != nil {
		g.cfg.Revoked(token)
	}
}

func (g *Gateway) followTokens(ctx context.Context, c *ledger.Cursor) error {
	for {
		entries, err := c.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range entries {
			t, ok := e.Data.(*schemas.TokenSet)
			if !ok {
				continue
			}
			if g.door.met(t.Settings.ID); t.Settings.Revoked {
				g.revoked(t.Settings.ID)
			}
		}
	}
}
