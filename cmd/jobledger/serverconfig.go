package main

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/internal/web"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// serverConfig is what `server run` can be told, by flag, environment or file.
type serverConfig struct {
	store, listen, durability setting
	replicas, dedupWindow     setting
	hotWindow, retention      setting
	unsafeBind, reserve       setting
	http, index, environment  setting
	traceLink                 setting
	login, tlsCert, tlsKey    setting
	orgLabel                  setting
	natsCert, natsKey         setting
}

// declare adds the server's own flags to a command.
func (c *serverConfig) declare(cmd flagOwner) {
	c.store.text(cmd, "store", "JOBLEDGER_STORE", "Data folder of the embedded server")
	c.listen.text(cmd, "listen", "JOBLEDGER_LISTEN", "host:port of the embedded server")
	c.http.text(cmd, "http", "JOBLEDGER_HTTP", "host:port of the HTTP API, /metrics, /healthz and /readyz; they are not served unless it is given")
	c.tlsCert.text(cmd, "http-tls-cert", "JOBLEDGER_HTTP_TLS_CERT", "Certificate of the HTTP port, PEM, with those that lead to its authority; read again when it changes").PlaceHolder("FILE")
	c.tlsKey.text(cmd, "http-tls-key", "JOBLEDGER_HTTP_TLS_KEY", "Its key").PlaceHolder("FILE")
	c.index.text(cmd, "index", "JOBLEDGER_INDEX", "no: keep no query index in the data folder; lists then cost as much as an org has jobs, and search neither args nor the archive").PlaceHolder("no")
	c.orgLabel.text(cmd, "metrics-org-label", "JOBLEDGER_METRICS_ORG_LABEL", "Metrics of orgs: off, top:N, those with the most, or all").PlaceHolder("off|top:N|all")
	c.environment.text(cmd, "environment", "JOBLEDGER_ENVIRONMENT", "What this installation is called, such as production: it is shown to people, so that nobody takes it for another").PlaceHolder("NAME")
	c.traceLink.text(cmd, "trace-link", "JOBLEDGER_TRACE_LINK", "Where people look at a trace, with {trace_id} in it, such as https://jaeger.example.com/trace/{trace_id}").PlaceHolder("URL")
	c.durability.text(cmd, "durability", "JOBLEDGER_DURABILITY", "standard: synced every second; strict: synced before the answer")
	c.replicas.text(cmd, "replicas", "JOBLEDGER_REPLICAS", "Replicas of the ledger on an outside NATS: 1, 3 or 5; what is there is kept")
	c.dedupWindow.text(cmd, "dedup-window", "JOBLEDGER_DEDUP_WINDOW", "How long message ids are remembered, up to 1h")
	c.reserve.text(cmd, "reserve", "JOBLEDGER_RESERVE", "Space that is kept for jobs that exist, in bytes or percent: submits are refused when no more is left; 0 refuses none")
	c.hotWindow.text(cmd, "hot-window", "JOBLEDGER_HOT_WINDOW", "How long events stay in the hot ledger before they move to the archive; 0: for ever")
	c.retention.text(cmd, "retention", "JOBLEDGER_RETENTION", "How long the archive keeps history behind the end of its job, where neither org nor type say; 0: for ever")
	c.login.text(cmd, "nats-login", "JOBLEDGER_NATS_LOGIN", "yes: nobody gets into the embedded server without a token; the operator's stands in the data folder, operator.secret").PlaceHolder("yes")
	c.natsCert.text(cmd, "listen-tls-cert", "JOBLEDGER_LISTEN_TLS_CERT", "Certificate of the embedded server, PEM, as of --http-tls-cert").PlaceHolder("FILE")
	c.natsKey.text(cmd, "listen-tls-key", "JOBLEDGER_LISTEN_TLS_KEY", "Its key").PlaceHolder("FILE")
	c.unsafeBind.text(cmd, "unsafe-bind", "", "yes: listen beyond loopback without TLS and credentials").PlaceHolder("yes")
}

// configKey is one setting of the configuration file.
type configKey struct {
	name     string
	setting  *setting
	fallback string
	mask     func(string) string // how a value with a secret is shown; nil shows it
	check    func(string) error  // nil takes any text
	live     bool                // a hangup applies it (reload.go); any other needs a restart
}

// keys lists the settings in the order in which they are shown. Those of the
// common flags are the same as for every command.
func (c *serverConfig) keys(f *commonFlags) []configKey {
	return []configKey{
		{name: "store", setting: &c.store, fallback: "./jobledger-data"},
		{name: "listen", setting: &c.listen, fallback: "127.0.0.1:4222", check: checkListen},
		{name: "http", setting: &c.http, check: checkListen},
		{name: "http_tls_cert", setting: &c.tlsCert},
		{name: "http_tls_key", setting: &c.tlsKey},
		{name: "index", setting: &c.index, fallback: "yes", check: checkYesNo},
		{name: "metrics_org_label", setting: &c.orgLabel, fallback: "off", check: checkOrgLabel},
		{name: "environment", setting: &c.environment, check: checkEnvironment},
		{name: "trace_link", setting: &c.traceLink, check: checkTraceLink},
		{name: "durability", setting: &c.durability, fallback: string(natsd.Standard), check: checkDurability},
		{name: "nats_login", setting: &c.login, fallback: "no", check: checkYesNo},
		{name: "listen_tls_cert", setting: &c.natsCert},
		{name: "listen_tls_key", setting: &c.natsKey},
		{name: "unsafe_bind", setting: &c.unsafeBind, fallback: "no", check: checkYesNo},
		{name: "replicas", setting: &c.replicas, check: checkReplicas},
		{name: "dedup_window", setting: &c.dedupWindow, check: checkWindow},
		{name: "reserve", setting: &c.reserve, check: checkReserve, live: true},
		{name: "hot_window", setting: &c.hotWindow, check: checkHotWindow, live: true},
		{name: "retention", setting: &c.retention, check: checkRetention, live: true},
		{name: "server", setting: &f.Server, mask: withoutPasswords},
		{name: "context", setting: &f.Context},
		{name: "user", setting: &f.User, mask: f.userShown},
		{name: "password", setting: &f.Password, mask: hidden},
		{name: "token", setting: &f.Token, mask: hidden},
		{name: "creds", setting: &f.Creds},
		{name: "nkey", setting: &f.NKey},
		{name: "tlscert", setting: &f.TLSCert},
		{name: "tlskey", setting: &f.TLSKey},
		{name: "tlsca", setting: &f.TLSCA},
		{name: "log_level", setting: &f.LogLevelName, fallback: zapcore.InfoLevel.String(), check: checkLogLevel, live: true},
		{name: "log_format", setting: &f.LogFormat, fallback: "console", check: checkLogFormat},
	}
}

// problem is one thing wrong with a configuration. Line is null when it is not
// the file's.
type problem struct {
	Line    *int   `json:"line"`
	Message string `json:"message"`
}

// effective is a setting as it will be used, and where it comes from. A secret
// is masked.
type effective struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"` // flag, a variable, line N, default
}

// load completes the settings from the file ("" for none) and the defaults, and
// checks all of them: flag > environment > file > default. It returns every
// problem, not only the first.
func (c *serverConfig) load(p *program, file string) ([]effective, []problem) {
	for _, s := range []*setting{&c.store, &c.listen, &c.durability, &c.replicas, &c.dedupWindow, &c.hotWindow, &c.retention, &c.unsafeBind, &c.reserve, &c.http, &c.index, &c.environment, &c.traceLink, &c.orgLabel, &c.login, &c.tlsCert, &c.tlsKey, &c.natsCert, &c.natsKey} {
		s.fill(p.Getenv)
	}
	entries, problems := readConfFile(file)
	keys := c.keys(&p.flags)
	lines := map[string]int{}
	for _, e := range entries {
		i := slices.IndexFunc(keys, func(k configKey) bool { return k.name == e.Name })
		if i < 0 {
			names := make([]string, len(keys))
			for i, k := range keys {
				names[i] = k.name
			}
			problems = append(problems, problem{&e.Line, fmt.Sprintf("unknown setting %s%s", e.Name, didYouMean("", e.Name, names))})
			continue
		}
		text, err := confText(e.Value)
		if err != nil {
			problems = append(problems, problem{&e.Line, fmt.Sprintf("%s: %v", e.Name, err)})
			continue
		}
		if s := keys[i].setting; !s.fromFlag && s.Value == "" {
			s.Value = text
			lines[e.Name] = e.Line
		}
	}
	return c.judge(p, keys, lines, problems)
}

// judge checks each value and the rules between them.
func (c *serverConfig) judge(p *program, keys []configKey, lines map[string]int, problems []problem) ([]effective, []problem) {
	var values []effective
	for _, k := range keys {
		line, inFile := lines[k.name]
		e := effective{Name: k.name, Value: k.setting.Value, Source: "default"}
		switch {
		case k.setting.fromFlag:
			e.Source = "flag"
		case inFile:
			e.Source = fmt.Sprintf("line %d", line)
		case k.setting.Value != "":
			e.Source = k.setting.env
		default:
			e.Value, k.setting.Value = k.fallback, k.fallback
		}
		if k.check != nil && e.Value != "" {
			if err := k.check(e.Value); err != nil {
				at := problem{Message: fmt.Sprintf("%s: %v", k.name, err)}
				if inFile {
					at.Line = &line
				}
				problems = append(problems, at)
			}
		}
		if k.mask != nil && e.Value != "" {
			e.Value = k.mask(e.Value)
		}
		if e.Value != "" {
			values = append(values, e)
		}
	}
	if len(problems) == 0 {
		problems = c.conflicts(p)
	}
	return values, problems
}

// conflicts finds settings that are fine alone and wrong together.
func (c *serverConfig) conflicts(p *program) []problem {
	if hot, dedup := c.windows(); hot > 0 && hot < ledger.HotWindowMin(dedup) {
		return []problem{{Message: fmt.Sprintf("hot_window: %s is below %s, twice the time in which work submitted again is found: choose a longer one, or 0 for never",
			hot, ledger.HotWindowMin(dedup))}}
	}
	if problems := c.httpConflicts(); len(problems) > 0 {
		return problems
	}
	if c.outside(p) {
		return nil
	}
	if p := certificateProblem("listen_tls", c.natsCert.Value, c.natsKey.Value); p != nil {
		return []problem{*p}
	}
	if !web.Loopback(c.listen.Value) && c.unsafeBind.Value != "yes" && (c.natsCert.Value == "" || c.login.Value != "yes") {
		return []problem{{Message: fmt.Sprintf("listen: %s is not a loopback address: give --nats-login yes with --listen-tls-cert and --listen-tls-key, use an outside NATS with --server, or --unsafe-bind yes", c.listen.Value)}}
	}
	if r := c.replicas.Value; r != "" && r != "1" {
		return []problem{{Message: fmt.Sprintf("replicas: the embedded server is one server, %s replicas need an outside NATS with --server", r)}}
	}
	return nil
}

// httpConflicts are those of the HTTP port.
func (c *serverConfig) httpConflicts() []problem {
	if p := certificateProblem("http_tls", c.tlsCert.Value, c.tlsKey.Value); p != nil {
		return []problem{*p}
	}
	switch {
	case c.tlsCert.Value != "" && c.http.Value == "":
		return []problem{{Message: "http_tls_cert is for --http, which is not given"}}
	case c.tlsCert.Value == "" && c.http.Value != "" && !web.Loopback(c.http.Value) && c.unsafeBind.Value != "yes":
		return []problem{{Message: fmt.Sprintf("http: %s is not a loopback address, and there is no TLS: give --http-tls-cert and --http-tls-key, put a proxy before a loopback address, or --unsafe-bind yes", c.http.Value)}}
	}
	return nil
}

// certificateProblem says what is wrong with a pair of settings that name a certificate and its key; nil: nothing.
func certificateProblem(name, cert, key string) *problem {
	if (cert == "") != (key == "") {
		return &problem{Message: fmt.Sprintf("%s_cert and %[1]s_key belong together: give both, or neither", name)}
	}
	if _, err := tlsOf(cert, key, zap.NewNop()); err != nil {
		return &problem{Message: fmt.Sprintf("%s_cert: %v", name, err)}
	}
	return nil
}

// windows are what is configured: a hot window of ledger.HotNever for never, 0 where nothing is said.
func (c *serverConfig) windows() (hot, dedup time.Duration) {
	if c.dedupWindow.Value != "" {
		dedup, _ = parseDuration(c.dedupWindow.Value) // checked
	}
	if c.hotWindow.Value != "" {
		if hot, _ = parseDuration(c.hotWindow.Value); hot == 0 {
			hot = ledger.HotNever
		}
	}
	return hot, dedup
}

// kept is the retention that is configured: ledger.RetentionForever for ever, 0 where nothing is said.
func (c *serverConfig) kept() time.Duration {
	if c.retention.Value == "" {
		return 0
	}
	d, _ := parseDuration(c.retention.Value) // checked
	return cmp.Or(d, ledger.RetentionForever)
}

// outside tells whether the server runs against a NATS it does not start.
func (c *serverConfig) outside(p *program) bool {
	return p.flags.Server.Value != "" || p.flags.Context.Value != ""
}

// readConfFile reads the file, if there is one; damage is a problem.
func readConfFile(file string) ([]natsd.ConfEntry, []problem) {
	if file == "" {
		return nil, nil
	}
	entries, err := natsd.ReadConf(file)
	if err != nil {
		return nil, []problem{{Message: err.Error()}}
	}
	return entries, nil
}

// confText takes a file's value as the text that a flag would have.
func confText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		if v {
			return "yes", nil
		}
		return "no", nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	default:
		return "", fmt.Errorf("takes one value, not a list or a block")
	}
}

func hidden(string) string { return "********" }

// userShown hides a lone user, which is a token.
func (f *commonFlags) userShown(user string) string {
	if f.Password.Value == "" {
		return hidden(user)
	}
	return user
}

// withoutPasswords shows server urls without the passwords they may carry.
func withoutPasswords(urls string) string {
	list := strings.Split(urls, ",")
	for i, s := range list {
		u, err := url.Parse(strings.TrimSpace(s))
		switch {
		case err != nil:
			list[i] = hidden(s)
		case u.User != nil:
			if _, both := u.User.Password(); !both {
				u.User = url.User("xxxxx") // a lone user is a token
			}
			list[i] = u.Redacted()
		}
	}
	return strings.Join(list, ",")
}

func checkListen(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not host:port", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q is not a port from 1 to 65535", port)
	}
	return nil
}

func checkDurability(s string) error {
	_, err := natsd.ParseDurability(s)
	return err
}

func checkYesNo(s string) error {
	if s != "yes" && s != "no" {
		return fmt.Errorf("%q is not yes or no", s)
	}
	return nil
}

// environmentMax bounds a name that stands in the head of a page.
const environmentMax = 32

func checkEnvironment(s string) error {
	if len(s) > environmentMax || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%q is not a name of at most %d bytes", s, environmentMax)
	}
	return nil
}

// checkTraceLink takes what a page may make a link of: nothing that runs.
func checkTraceLink(s string) error {
	u, err := url.Parse(strings.ReplaceAll(s, "{trace_id}", "0"))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || !strings.Contains(s, "{trace_id}") {
		return fmt.Errorf("%q is no http or https address with {trace_id} in it", s)
	}
	return nil
}

func checkReplicas(s string) error {
	if s != "1" && s != "3" && s != "5" {
		return fmt.Errorf("%q is not 1, 3 or 5", s)
	}
	return nil
}

func checkWindow(s string) error {
	d, err := parseDuration(s)
	if err != nil {
		return fmt.Errorf(`%w (quote it in a file: "10m")`, err)
	}
	if d <= 0 || d > schemas.DedupWindowMax {
		return fmt.Errorf("%s is not above 0 and up to %s", s, schemas.DedupWindowMax)
	}
	return nil
}

func checkHotWindow(s string) error {
	d, err := parseDuration(s)
	if err != nil {
		return fmt.Errorf(`%w (quote it in a file: "24h")`, err)
	}
	if d < 0 {
		return fmt.Errorf("%s is below 0", s)
	}
	return nil
}

func checkRetention(s string) error {
	d, err := parseDuration(s)
	if err != nil {
		return fmt.Errorf(`%w (quote it in a file: "90d")`, err)
	}
	if d != 0 && (d < ledger.RetentionMin || d > schemas.RetentionDaysMax*schemas.Day) {
		return fmt.Errorf("%s is not between %dd and %dd, nor 0 for ever", s, schemas.RetentionDaysMin, schemas.RetentionDaysMax)
	}
	return nil
}

func checkLogLevel(s string) error {
	if _, err := zapcore.ParseLevel(s); err != nil {
		return fmt.Errorf("%q is not debug, info, warn or error", s)
	}
	return nil
}

func checkLogFormat(s string) error {
	if s != "console" && s != "json" {
		return fmt.Errorf("%q is not console or json", s)
	}
	return nil
}
