package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// serverDefault is where a server is when nobody says.
const serverDefault = nats.DefaultURL

// reconnectWait is the pause between two tries to come back: short, so that a
// restarted server has its workers again within the fail-over of a leader.
const reconnectWait = 250 * time.Millisecond

// A server that is cut off says no word: so many pings in vain, one after the other, and the connection is given up
// for one to another server. With the try after that it takes less than a lease, so a worker keeps its attempts.
const (
	pingEvery = 4 * time.Second
	pingsMax  = 2
)

// target is where to connect and as whom, and how that was decided.
type target struct {
	natsContext
	ContextName string // empty when no context was used
	Source      string // what decided, for messages
}

// resolveTarget decides where to connect: flag, then NATS_URL and NATS_CONTEXT,
// then our own context.txt, then the context selected in nats, then this
// machine (INTERFACE 2.1). A URL beside a context of the same rank replaces the
// context's; credentials from flags and environment replace single fields.
func (p *program) resolveTarget() (*target, error) {
	t, err := p.chooseTarget()
	if err != nil {
		return nil, err
	}
	f := &p.flags
	for _, field := range []struct {
		to   *string
		from setting
	}{
		{&t.User, f.User}, {&t.Password, f.Password}, {&t.Token, f.Token},
		{&t.Creds, f.Creds}, {&t.NKey, f.NKey}, {&t.JWT, f.JWT}, {&t.Seed, f.Seed},
		{&t.Cert, f.TLSCert}, {&t.Key, f.TLSKey}, {&t.CA, f.TLSCA},
		{&t.JSDomain, f.JSDomain}, {&t.InboxPrefix, f.InboxPrefix},
	} {
		if field.from.Value != "" {
			*field.to = field.from.Value
		}
	}
	t.TLSFirst = t.TLSFirst || f.TLSFirst
	return t, nil
}

func (p *program) chooseTarget() (*target, error) {
	files := newContexts(p.Getenv)
	url, name := p.flags.Server, p.flags.Context
	if url.fromFlag != name.fromFlag {
		// One of them is a flag: it beats the other one's environment.
		if !url.fromFlag {
			url = setting{}
		}
		if !name.fromFlag {
			name = setting{}
		}
	}
	switch {
	case name.Value != "":
		t, err := p.contextTarget(files, name.Value, "--context or NATS_CONTEXT")
		if err == nil && url.Value != "" {
			t.URL, t.Source = url.Value, "--server or NATS_URL"
		}
		return t, err
	case url.Value != "":
		return &target{natsContext: natsContext{URL: url.Value}, Source: "--server or NATS_URL"}, nil
	}
	for _, file := range []struct {
		selected func() (string, error)
		source   string
	}{
		{files.ourDefault, "the default context"},
		{files.natsDefault, "the context selected in nats"},
	} {
		name, err := file.selected()
		if err != nil {
			return nil, usagef("%s: %w", file.source, err)
		}
		if name != "" {
			return p.contextTarget(files, name, file.source)
		}
	}
	return &target{natsContext: natsContext{URL: serverDefault}, Source: "the default"}, nil
}

func (p *program) contextTarget(files contexts, name, source string) (*target, error) {
	nc, err := files.load(name)
	if err != nil {
		return nil, usagef("%s: %w", source, err)
	}
	if nc.URL == "" {
		nc.URL = serverDefault
	}
	return &target{natsContext: *nc, ContextName: name, Source: source + " " + name}, nil
}

// org is the org to work in: flag, JOBLEDGER_ORG, then the one saved with the
// context in use. Without any it is a usage mistake.
func (p *program) org(t *target) (schemas.OrgID, error) {
	if org := p.flags.Org.Value; org != "" {
		return schemas.OrgID(org), nil // checked with the flags
	}
	if t.ContextName != "" {
		org, err := newContexts(p.Getenv).org(t.ContextName)
		if org != "" || err != nil {
			return org, err
		}
	}
	return "", usagef("which org? give --org or set JOBLEDGER_ORG")
}

// connect opens a connection under a name that `nats server report connections`
// shows. Lost connections come back by themselves for as long as the command
// runs; the first one must succeed.
func (p *program) connect(t *target, name string, more ...nats.Option) (*nats.Conn, error) {
	if t.JSDomain != "" {
		return nil, usagef("JetStream domain %s: jobledger works in the domain of the server it is connected to; connect to a server of that domain", t.JSDomain)
	}
	log := p.logger(zap.WarnLevel).With(zap.String("connection", name))
	opts := []nats.Option{
		nats.Name("jobledger " + name),
		nats.Timeout(p.flags.Timeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.PingInterval(pingEvery),
		nats.MaxPingsOutstanding(pingsMax),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if !nc.IsClosed() { // by ourselves
				log.Warn("disconnected, trying to come back", zap.Error(err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Warn("connected again", zap.String("url", nc.ConnectedUrlRedacted())) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("connection", zap.Error(err)) }),
	}
	nc, err := nats.Connect(t.URL, append(append(opts, t.options()...), more...)...)
	switch {
	case err == nil:
		return nc, nil
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return nil, failf(ledger.CodeUnauthenticated, "%s (from %s) refused the credentials: %w", withoutPasswords(t.URL), t.Source, err)
	default:
		return nil, failf(ledger.CodeUnavailable, "cannot reach NATS at %s (from %s): %w; is `jobledger dev` running?", withoutPasswords(t.URL), t.Source, err)
	}
}

// options are the target's credentials in the client's terms. A file that
// cannot be read fails the connection.
func (t *target) options() []nats.Option {
	var opts []nats.Option
	switch {
	case t.Creds != "":
		opts = append(opts, nats.UserCredentials(t.Creds))
	case t.JWT != "":
		opts = append(opts, nats.UserJWTAndSeed(t.JWT, t.Seed))
	case t.NKey != "":
		opts = append(opts, nkeyOption(t.NKey))
	}
	switch {
	case t.Token != "":
		opts = append(opts, nats.Token(t.Token))
	case t.User != "" && t.Password == "":
		opts = append(opts, nats.Token(t.User)) // as nats reads a lone --user
	case t.User != "":
		opts = append(opts, nats.UserInfo(t.User, t.Password))
	}
	if t.CA != "" {
		opts = append(opts, nats.RootCAs(t.CA))
	}
	if t.Cert != "" {
		opts = append(opts, nats.ClientCert(t.Cert, t.Key))
	}
	if t.TLSFirst {
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	if t.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(t.InboxPrefix))
	}
	return opts
}

// nkeyOption reads the seed when the connection is made, so that a missing file
// is an error of the connection like a missing creds file.
func nkeyOption(file string) nats.Option {
	return func(o *nats.Options) error {
		opt, err := nats.NkeyOptionFromSeed(file)
		if err != nil {
			return fmt.Errorf("nkey: %w", err)
		}
		return opt(o)
	}
}
