package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// tokenPrefix begins every secret, so that one that leaked into a text is found.
	tokenPrefix = "jl_"
	// tokenIDBytes and tokenSecretBytes are what is random of a secret: its name, and what proves who holds it.
	tokenIDBytes     = 8
	tokenSecretBytes = 32
	// strangersRate and strangersBurst bound how many secrets whose id is not known are looked up in a second: each costs a
	// read of the ledger.
	strangersRate  = 50
	strangersBurst = 200
)

// AddTokenRequest makes a credential.
type AddTokenRequest struct {
	Title string       `json:"title"`
	Role  schemas.Role `json:"role"`
	// Actor is who acts with it, as events name it, such as user:ada; api_key:<title> if empty.
	Actor       string     `json:"actor,omitempty"`
	Permissions []string   `json:"permissions,omitempty"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
	// NATSAccount, if set, makes no secret: it is an account of an outside NATS whose connections have this role. It is the
	// token's id then, and is never given out again.
	NATSAccount string `json:"nats_account,omitempty"`
	Reason      string `json:"reason"` // required
}

// Token is a credential, without its secret.
type Token struct {
	ID          string         `json:"id"`
	Org         *schemas.OrgID `json:"org"` // null: of every org
	Name        string         `json:"name"`
	Role        schemas.Role   `json:"role"`
	Acts        string         `json:"acts_as"`
	Permissions []string       `json:"permissions"`
	ExpiresAt   *time.Time     `json:"expires_at"`
	Revoked     bool           `json:"revoked"`
	SettingAuthor
}

// NewToken is a credential with its secret, which is told once and stored nowhere; empty for a NATS account.
type NewToken struct {
	Token
	Secret string `json:"secret"`
}

// Tokens are those of an org, or all; revoked ones too.
type Tokens struct {
	Items []Token `json:"items"`
	Next  *string `json:"next"`
}

// TokensRequest asks for the tokens of the subject's org; with All for those of every org and of the cell.
type TokensRequest struct {
	All bool `json:"all,omitempty"`
}

func tokenOf(e *ledger.Entry) Token {
	s := &e.Data.(*schemas.TokenSet).Settings
	t := Token{ID: s.ID, Name: s.Title, Role: s.Role, Acts: s.Actor.String(), Permissions: s.Permissions, ExpiresAt: s.ExpiresAt, Revoked: s.Revoked,
		SettingAuthor: authorOf(e)}
	if s.Org != "" {
		t.Org = &s.Org
	}
	return t
}

// tokenAdd makes a token for the subject's org; one of role admin is of every org.
func (g *Gateway) tokenAdd(ctx context.Context, r *request) ([]byte, error) {
	var req AddTokenRequest
	if err := r.decodeStrictly(&req); err != nil {
		return nil, err
	}
	if err := checkReason("reason", req.Reason, true); err != nil {
		return nil, err
	}
	if strings.TrimSpace(req.Title) == "" {
		return nil, badField("title", errors.New("a title is required: it tells tokens apart"))
	}
	if req.ExpiresAt != nil && !req.ExpiresAt.After(time.Now()) {
		return nil, badField("expires_at", fmt.Errorf("%s is not ahead", req.ExpiresAt.Format(time.RFC3339)))
	}
	actor := schemas.Actor{Type: "api_key", ID: req.Title}
	if req.Actor != "" {
		var err error
		if actor, err = schemas.ParseActor(req.Actor); err != nil {
			return nil, badField("actor", err)
		}
		if actor.Type == "system" {
			return nil, badField("actor", errors.New("system is the ledger's own"))
		}
	}
	id, secret := newSecret()
	hash := hashOf(secret)
	if req.NATSAccount != "" { // the hash is that of a secret which nobody has
		if err := schemas.CheckToken("nats account", req.NATSAccount); err != nil {
			return nil, badField("nats_account", err)
		}
		id, secret = req.NATSAccount, ""
	}
	set := &schemas.TokenSet{Reason: req.Reason, Settings: schemas.TokenSettings{ID: id, Org: r.org, Title: req.Title, Role: req.Role, Actor: actor,
		Permissions: req.Permissions, Hash: hash, ExpiresAt: req.ExpiresAt}}
	if req.Role == schemas.RoleAdmin {
		set.Settings.Org = ""
	}
	if err := set.Validate(); err != nil {
		return nil, badField("token", err)
	}
	e, err := g.l.Put(ctx, ledger.Meta{Actor: g.actor(ctx), CausationID: r.id}, set.Place(), func(have schemas.Setting) (schemas.Setting, error) {
		if have != nil {
			return nil, ledger.Errorf(ledger.CodeInUse, "NATS account %s has a role already, or had one: take a new one", id)
		}
		return set, nil
	})
	if err != nil {
		return nil, err
	}
	g.log.Info("operator action", zap.String("action", "add token"), zap.String("org", string(set.Settings.Org)), zap.String("token", id), zap.String("role", string(req.Role)),
		zap.String("actor", g.actor(ctx).String()), zap.String("reason", req.Reason), zap.String("request_id", r.id))
	return json.Marshal(&NewToken{Token: tokenOf(&ledger.Entry{Event: e}), Secret: secret})
}

// tokenList answers the tokens, the oldest first.
func (g *Gateway) tokenList(ctx context.Context, r *request) ([]byte, error) {
	var req TokensRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	all, err := g.l.Settings(ctx, ledger.KindToken)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *ledger.Entry) int { return int(int64(a.Seq) - int64(b.Seq)) })
	reply := Tokens{Items: []Token{}}
	for _, e := range all {
		if t := tokenOf(e); req.All || t.Org != nil && *t.Org == r.org {
			reply.Items = append(reply.Items, t)
		}
	}
	return json.Marshal(&reply)
}

// tokenRemove revokes a token, for good.
func (g *Gateway) tokenRemove(ctx context.Context, r *request) ([]byte, error) {
	var req ReasonRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if err := checkReason("reason", req.Reason, true); err != nil {
		return nil, err
	}
	at := (&schemas.TokenSet{Settings: schemas.TokenSettings{ID: r.name}}).Place()
	e, err := g.l.Put(ctx, ledger.Meta{Actor: g.actor(ctx), CausationID: r.id}, at, func(have schemas.Setting) (schemas.Setting, error) {
		was, _ := have.(*schemas.TokenSet)
		switch {
		case was == nil:
			return nil, ledger.Errorf(ledger.CodeNotFound, "there is no token %s: `jobledger org token ls` lists them", r.name)
		case was.Settings.Revoked:
			return was, nil
		}
		set := &schemas.TokenSet{Settings: was.Settings, Reason: req.Reason}
		set.Settings.Revoked = true
		return set, nil
	})
	if err != nil {
		return nil, err
	}
	set := &ledger.Entry{Event: e}
	if e == nil { // it was revoked before
		if set, err = g.l.Setting(ctx, ledger.KindToken, r.name); err != nil {
			return nil, err
		}
	} else {
		g.log.Info("operator action", zap.String("action", "revoke token"), zap.String("token", r.name), zap.String("actor", g.actor(ctx).String()),
			zap.String("reason", req.Reason), zap.String("request_id", r.id))
	}
	reply := tokenOf(set)
	return json.Marshal(&reply)
}

// newSecret makes a secret and the id in it.
func newSecret() (id, secret string) {
	var b [tokenIDBytes + tokenSecretBytes]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	id = hex.EncodeToString(b[:tokenIDBytes])
	return id, tokenPrefix + id + "_" + base64.RawURLEncoding.EncodeToString(b[tokenIDBytes:])
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// tokenID is the id in a secret; empty if it has none.
func tokenID(secret string) string {
	rest, ok := strings.CutPrefix(secret, tokenPrefix)
	if !ok || len(rest) != 2*tokenIDBytes+1+base64.RawURLEncoding.EncodedLen(tokenSecretBytes) || rest[2*tokenIDBytes] != '_' {
		return ""
	}
	if _, err := hex.DecodeString(rest[:2*tokenIDBytes]); err != nil {
		return ""
	}
	return rest[:2*tokenIDBytes]
}

// doorkeeper recognises who holds a secret. What it knows of tokens is at most a second old.
type doorkeeper struct {
	l         *ledger.Ledger
	strangers *rate.Limiter // of ids that no token has

	mu    sync.Mutex
	known map[string]struct{} // ids of tokens that were made: who guesses takes no place from who has one
}

func newDoorkeeper(l *ledger.Ledger) *doorkeeper {
	return &doorkeeper{l: l, strangers: rate.NewLimiter(strangersRate, strangersBurst), known: map[string]struct{}{}}
}

// learn reads which tokens there are. Until it has, and where it cannot, those that were not used yet count as strangers.
func (d *doorkeeper) learn(ctx context.Context) error {
	entries, err := d.l.Settings(ctx, ledger.KindToken)
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	for _, e := range entries {
		if t, ok := e.Data.(*schemas.TokenSet); ok {
			d.met(t.Settings.ID)
		}
	}
	return nil
}

// met notes that there is a token.
func (d *doorkeeper) met(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known[id] = struct{}{}
}

// made reports whether a token of that id is known to have been made, revoked or not.
func (d *doorkeeper) made(id string) bool { return d.knows(id) || d.l.TokenHeld(id) }

func (d *doorkeeper) knows(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.known[id]
	return ok
}

// errStranger is the one answer to a secret that opens nothing, whatever is wrong with it.
var errStranger = ledger.Errorf(ledger.CodeUnauthenticated, "the token is unknown, revoked or expired")

// recognise returns whom a secret stands for.
func (d *doorkeeper) recognise(ctx context.Context, secret string) (*rights.Principal, error) {
	t, err := d.holder(ctx, secret)
	if err != nil {
		return nil, err
	}
	return principalOf(t), nil
}

// holder returns the token of a secret, if it opens something.
func (d *doorkeeper) holder(ctx context.Context, secret string) (*schemas.TokenSettings, error) {
	id := tokenID(secret)
	if id == "" {
		return nil, errStranger
	}
	t, err := d.token(ctx, id)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hashOf(secret))) != 1 {
		return nil, errStranger
	}
	return t, nil
}

// token returns the token with an id, if it was neither revoked nor has expired.
func (d *doorkeeper) token(ctx context.Context, id string) (*schemas.TokenSettings, error) {
	if schemas.CheckToken("token id", id) != nil {
		return nil, errStranger
	}
	if !d.made(id) && !d.strangers.Allow() {
		return nil, ledger.Errorf(ledger.CodeRateLimited, "too many unknown tokens: try again in a second")
	}
	t, err := d.l.Token(ctx, id)
	if err != nil {
		return nil, err
	}
	if t == nil || t.Revoked || t.ExpiresAt != nil && !time.Now().Before(*t.ExpiresAt) {
		return nil, errStranger
	}
	return t, nil
}

func principalOf(t *schemas.TokenSettings) *rights.Principal {
	return &rights.Principal{Actor: t.Actor, Grants: []rights.Grant{{Org: t.Org, Role: t.Role, Permissions: t.Permissions}}}
}

// AddToken makes a credential for an org; of role admin for all.
func (c *Client) AddToken(ctx context.Context, org schemas.OrgID, r AddTokenRequest) (*NewToken, error) {
	return ask[NewToken](ctx, c.of(org), "token.add", r)
}

// Tokens returns the tokens of an org, or of all.
func (c *Client) Tokens(ctx context.Context, org schemas.OrgID, all bool) (*Tokens, error) {
	return ask[Tokens](ctx, c.of(org), "token.ls", TokensRequest{All: all})
}

// RevokeToken revokes a token for good. It opens nothing any more within two seconds.
func (c *Client) RevokeToken(ctx context.Context, id, reason string) (*Token, error) {
	return ask[Token](ctx, c, "token.rm."+id, ReasonRequest{Reason: reason})
}
