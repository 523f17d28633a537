package natsd

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

const (
	// recogniseMax bounds the question whom a credential stands for: the client waits in its handshake.
	recogniseMax = 2 * time.Second
	// recogniseAgain is how long after a login the question is asked once more: an answer may be a second old, and a
	// credential that was revoked meanwhile was taken back before its connection was there.
	recogniseAgain = 1500 * time.Millisecond
	// recogniseAgainMax bounds the time between two askings while nothing can be learnt: it doubles.
	recogniseAgainMax = time.Minute
)

// tenantConnsMax is how many connections a tenant's account may hold: more than the servers of a program need, and fewer than
// would keep others out.
const tenantConnsMax = 256

// tenantInboxes is where a tenant hears, which is nowhere that he may send to.
const tenantInboxes = "_INBOX.>"

// tenantMay keeps a tenant from using the server to send messages to himself, each to as many subscriptions as he likes: he
// hears only answers. Sending is not bounded by what he imports: a request to anywhere else is told at once that there is
// nobody (no responders), while a violation would let it wait for its timeout.
var tenantMay = server.Permissions{
	Publish:   &server.SubjectPermission{Deny: []string{tenantInboxes}},
	Subscribe: &server.SubjectPermission{Allow: []string{tenantInboxes}},
}

// Guard says who gets in, and where. Without one there are no logins, and whoever reaches the server is in the ledger's
// account.
type Guard struct {
	// Required lets nobody in without a credential. Else who shows none is in the ledger's account.
	Required bool
	// Secret is that of the ledger's account; empty: none is.
	Secret string
}

// Tenant is whom a credential stands for: somebody in an account of his own, which reaches the ledger's by one import. It is
// an alias, as Recognise is, so that who recognises need not know this package.
type Tenant = struct {
	// Account is its name: one for each credential.
	Account string
	// From is the wildcard of subjects on which it asks, and To what becomes of them in the ledger's account, where nobody
	// else can put a request (ENGINE 9).
	From, To string
	// Expires ends its connections; zero: never.
	Expires time.Time
}

// Recognise says whom a secret stands for. An error with a method Refused() bool that answers true says that it opens nothing,
// and after any other that is not known: the client is not refused, for good clients give up after that, but has to come
// again. Its text is for the log: a stranger is told one thing.
type Recognise = func(ctx context.Context, secret string) (Tenant, error)

// errNobody is the answer before anybody recognises secrets.
var errNobody = errors.New("natsd: no logins are taken yet")

func refused(err error) bool {
	var r interface{ Refused() bool }
	return errors.As(err, &r) && r.Refused()
}

// guard is the server's Authentication.
type guard struct {
	Guard
	log *zap.Logger
	own string // the secret of this process's own connections

	guesses   *guesses
	again     time.Duration // recogniseAgain, but in tests
	unread    int           // unreadMax, but in tests
	admits    chan struct{} // closed once recognise is set
	mu        sync.Mutex
	ns        *server.Server
	recognise Recognise
	tenants   map[string]Tenant // whose accounts are there, by account
	// delayed is how many logins had to wait since the log told of one.
	delayed     int
	delayedTold time.Time
}

func newGuard(g Guard, log *zap.Logger) *guard {
	log = log.With(zap.String("component", "nats"))
	return &guard{Guard: g, log: log, own: rand.Text(), guesses: newGuesses(log), again: recogniseAgain, unread: unreadMax,
		admits: make(chan struct{}), tenants: map[string]Tenant{}}
}

// Check implements server.Authentication.
func (g *guard) Check(c server.ClientAuthentication) bool {
	if c.Kind() != server.CLIENT { // nothing else listens
		return false
	}
	// Asked once: it is nil as soon as the connection has ended, which it may do at any moment, also by another goroutine's doing.
	from := c.RemoteAddress()
	if from == nil {
		return false
	}
	opts := c.GetOpts()
	secret := opts.Token
	if secret == "" {
		secret = opts.Password // of a client that can only say a name and a password
	}
	if secret == "" {
		// A pipe begins in this process.
		if !g.Required || from.Network() == "pipe" {
			return true
		}
		g.guesses.wrong(from)
		return false
	}
	if same(secret, g.own) || g.Secret != "" && same(secret, g.Secret) {
		return true
	}
	t, err := g.ask(secret)
	switch {
	case refused(err):
		g.log.Debug("a login was refused", zap.Stringer("from", from), zap.Error(err))
		crowded := g.guesses.crowded(from)
		if g.guesses.wrong(from); crowded {
			return g.drop(c)
		}
		return false
	case err != nil:
		return g.later(c, from, err)
	}
	account, err := g.account(t)
	if err != nil {
		return g.later(c, from, err)
	}
	if account.NumLocalConnections() >= tenantConnsMax {
		return g.later(c, from, fmt.Errorf("natsd: account %s holds %d connections", t.Account, tenantConnsMax))
	}
	c.RegisterUser(&server.User{Username: t.Account, Account: account, Permissions: &tenantMay, ConnectionDeadline: t.Expires})
	if c.RemoteAddress() == nil { // it has ended meanwhile, and was not registered
		return false
	}
	g.askAgain(c.GetID(), secret, g.again)
	return true
}

// later is drop, and says why, in one line a minute: who has to come again may do so as often as he likes.
func (g *guard) later(c server.ClientAuthentication, from net.Addr, err error) bool {
	g.mu.Lock()
	g.delayed++
	n, now := g.delayed, time.Now()
	tell := now.Sub(g.delayedTold) >= guessWindow
	if tell {
		g.delayed, g.delayedTold = 0, now
	}
	g.mu.Unlock()
	if tell {
		g.log.Warn("a login has to wait", zap.Stringer("from", from), zap.Int("count", n), zap.Error(err))
	}
	return g.drop(c)
}

// drop ends a connection that was not refused: without a word, so that the client comes again. It answers what Check is to.
func (g *guard) drop(c server.ClientAuthentication) bool {
	_ = g.ns.DisconnectClientByID(c.GetID()) // it may have gone by itself
	return false
}

// askAgain ends a connection if its secret opens nothing any more, and goes on asking while that cannot be learnt.
func (g *guard) askAgain(id uint64, secret string, after time.Duration) {
	time.AfterFunc(after, func() {
		if g.ns.GetClient(id) == nil {
			return
		}
		_, err := g.ask(secret)
		switch {
		case refused(err):
			_ = g.ns.DisconnectClientByID(id) // it may have gone by itself
		case err != nil:
			g.askAgain(id, secret, min(2*after, recogniseAgainMax))
		}
	})
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// ask has the secret recognised. Who comes before anybody recognises secrets waits a little for that.
func (g *guard) ask(secret string) (Tenant, error) {
	ctx, cancel := context.WithTimeout(context.Background(), recogniseMax)
	defer cancel()
	select {
	case <-g.admits:
	case <-ctx.Done():
		return Tenant{}, errNobody
	}
	g.mu.Lock()
	recognise := g.recognise
	g.mu.Unlock()
	return recognise(ctx, secret)
}

// account returns the tenant's account, set up the first time. One that is not used any more stays until the server ends: an
// empty account costs a few kilobytes.
func (g *guard) account(t Tenant) (*server.Account, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if was, ok := g.tenants[t.Account]; ok {
		if was.From != t.From || was.To != t.To {
			return nil, fmt.Errorf("natsd: account %s was set up for %s", t.Account, was.From)
		}
		return g.ns.LookupAccount(t.Account)
	}
	own := g.ns.GlobalAccount()
	// One that was registered and then could not be set up is there already. An export may be made twice; of an import that
	// failed nothing stays, and after it nothing fails.
	account, _ := g.ns.LookupOrRegisterAccount(t.Account)
	if err := own.AddServiceExport(t.To, []*server.Account{account}); err != nil {
		return nil, fmt.Errorf("natsd: export %s: %w", t.To, err)
	}
	if err := account.AddServiceImport(own, t.From, t.To); err != nil {
		return nil, fmt.Errorf("natsd: import %s as %s: %w", t.To, t.From, err)
	}
	g.tenants[t.Account] = t
	return account, nil
}

// Admit has logins be judged by a function from now on. The server needs a Guard.
func (s *Server) Admit(f Recognise) {
	s.guard.mu.Lock()
	defer s.guard.mu.Unlock()
	if s.guard.recognise == nil {
		close(s.guard.admits)
	}
	s.guard.recognise = f
}

// Expel ends the connections of a tenant's account; of all tenants if it is empty. Who may come back does so by itself.
func (s *Server) Expel(account string) {
	s.guard.mu.Lock()
	var accounts []string
	for name := range s.guard.tenants {
		if account == "" || name == account {
			accounts = append(accounts, name)
		}
	}
	s.guard.mu.Unlock()
	for _, name := range accounts {
		for s.expel(name) == connzPage {
		}
	}
}

// expel ends up to connzPage connections of an account, and says how many it saw.
func (s *Server) expel(account string) int {
	conns, err := s.ns.Connz(&server.ConnzOptions{Username: true, Account: account, Limit: connzPage})
	if err != nil { // what they ask is refused all the same
		s.guard.log.Warn("connections cannot be ended", zap.String("account", account), zap.Error(err))
		return 0
	}
	for _, c := range conns.Conns {
		_ = s.ns.DisconnectClientByID(c.Cid) // it may have gone by itself
	}
	return len(conns.Conns)
}

// connzPage is how many connections are looked at and ended at a time.
const connzPage = 1024
