package main

import (
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/schemas"
)

// requestTimeoutDefault is how long one request may take, as in nats.
const requestTimeoutDefault = 5 * time.Second

// commonFlags are the flags of every command (INTERFACE 2.1). Those that nats
// has too are called as there and read the same environment.
type commonFlags struct {
	// Where the server is and who we are there.
	Server, Context                      setting
	User, Password, Token                setting
	Creds, NKey, JWT, Seed               setting
	TLSCert, TLSKey, TLSCA, JSDomain     setting
	InboxPrefix, Colors, TZ              setting
	TLSFirst, Trace                      bool
	Timeout                              time.Duration
	JSON, Force, DryRun, UTC             bool
	Org, Reason, LogLevelName, LogFormat setting

	zone     *time.Location
	timeout  setting
	settings []*setting
}

// setting is a text with its origin, since a flag beats the environment and the
// environment beats a file.
type setting struct {
	Value    string
	fromFlag bool
	env      string // name of the variable to read when the flag is absent
}

// fill takes the environment's value for an absent flag. fisk could do it, but
// it reads the process's own environment and shows what it read in its help.
func (s *setting) fill(getenv func(string) string) {
	if !s.fromFlag && s.env != "" {
		s.Value = getenv(s.env)
	}
}

// text declares a flag that fills the setting; env may be empty.
func (s *setting) text(owner flagOwner, name, env, help string) *fisk.FlagClause {
	if env != "" {
		s.env = env
		help += " ($" + env + ")"
	}
	flag := owner.Flag(name, help).IsSetByUser(&s.fromFlag)
	flag.StringVar(&s.Value)
	return flag.PlaceHolder(placeholder(name))
}

// declare adds the flags to the application.
func (f *commonFlags) declare(app *fisk.Application) {
	text := func(s *setting, name, env, help string) *fisk.FlagClause {
		f.settings = append(f.settings, s)
		return s.text(app, name, env, help)
	}
	yes := func(target *bool, name, help string) *fisk.FlagClause {
		flag := app.Flag(name, help)
		flag.UnNegatableBoolVar(target)
		return flag
	}

	text(&f.Server, "server", "NATS_URL", "NATS server urls").Short('s')
	text(&f.Context, "context", "NATS_CONTEXT", "NATS context to use")
	text(&f.Org, "org", "JOBLEDGER_ORG", "The org to work in").Short('O')
	yes(&f.JSON, "json", "Print JSON").Short('j')
	yes(&f.Force, "force", "Do not ask").Short('f')
	text(&f.Reason, "reason", "", "Why, recorded with the change; in lists only jobs that stand for it")
	yes(&f.DryRun, "dry-run", "Show what would be done and stop there")
	yes(&f.UTC, "utc", "Print absolute times in UTC")
	text(&f.TZ, "tz", "", "Zone of times given without one")
	f.declareConnection(app, text, yes)
	text(&f.timeout, "timeout", "NATS_TIMEOUT", "How long one request may take, 5s by default")
	text(&f.Colors, "colors", "NATS_COLOR", "Colour of tables: red, green, yellow, blue, magenta, cyan, none")
	text(&f.LogLevelName, "log-level", "JOBLEDGER_LOG_LEVEL", "debug, info, warn or error; warn for commands, info for servers and workers")
	text(&f.LogFormat, "log-format", "JOBLEDGER_LOG_FORMAT", "console or json")
}

func (f *commonFlags) declareConnection(
	app *fisk.Application,
	text func(s *setting, name, env, help string) *fisk.FlagClause,
	yes func(target *bool, name, help string) *fisk.FlagClause,
) {
	text(&f.User, "user", "NATS_USER", "Username or token")
	text(&f.Password, "password", "NATS_PASSWORD", "Password")
	text(&f.Token, "token", "NATS_TOKEN", "Token")
	text(&f.Creds, "creds", "NATS_CREDS", "File with user credentials")
	text(&f.NKey, "nkey", "NATS_NKEY", "File with a user nkey seed")
	text(&f.JWT, "jwt", "NATS_JWT", "User JWT")
	text(&f.Seed, "seed", "NATS_SEED", "User seed, for --jwt")
	text(&f.TLSCert, "tlscert", "NATS_CERT", "File with the TLS public certificate")
	text(&f.TLSKey, "tlskey", "NATS_KEY", "File with the TLS private key")
	text(&f.TLSCA, "tlsca", "NATS_CA", "File with the TLS certificate authority")
	yes(&f.TLSFirst, "tlsfirst", "Perform the TLS handshake before expecting the server's greeting")
	text(&f.JSDomain, "js-domain", "", "JetStream domain")
	text(&f.InboxPrefix, "inbox-prefix", "", "Prefix of reply subjects")
	yes(&f.Trace, "trace", "Log everything, as --log-level debug")
}

// resolve completes the flags from the environment and checks them.
func (f *commonFlags) resolve(getenv func(string) string) error {
	for _, s := range f.settings {
		s.fill(getenv)
	}
	return f.check()
}

// check reads the values that are more than text.
func (f *commonFlags) check() error {
	zone, err := parseZone(f.TZ.Value)
	if err != nil {
		return usagef("--tz: %w", err)
	}
	f.zone = zone
	f.Timeout = requestTimeoutDefault
	if s := f.timeout.Value; s != "" {
		if f.Timeout, err = parseDuration(s); err != nil || f.Timeout == 0 {
			return usagef("--timeout: %q is not a duration above 0", s)
		}
	}
	if f.Org.Value != "" {
		if err := schemas.CheckToken("org", f.Org.Value); err != nil {
			return usagef("%w", err)
		}
	}
	if name := f.LogLevelName.Value; name != "" {
		if err := checkLogLevel(name); err != nil {
			return usagef("--log-level: %w", err)
		}
	}
	if format := f.LogFormat.Value; format != "" {
		if err := checkLogFormat(format); err != nil {
			return usagef("--log-format: %w", err)
		}
	}
	return checkColors(f.Colors.Value)
}

// placeholder names a flag's value in the help.
func placeholder(flag string) string {
	switch flag {
	case "server":
		return "URL"
	case "org", "context", "user", "tz":
		return "NAME"
	case "timeout":
		return "DURATION"
	case "creds", "nkey", "tlscert", "tlskey", "tlsca":
		return "FILE"
	default:
		return "TEXT"
	}
}
