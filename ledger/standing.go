package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// controlTokens chooses the subjects of all credentials.
const controlTokens = "control.cell." + KindToken + ".*"

// tokenReads is how many credentials are read at once where all are: one after the other, those of a great cell would take
// longer than a decision may, which would then begin anew each time.
const tokenReads = 32

// standings are what credentials say of who may submit, by the name of who acts with them: a fold of their events. Nobody
// changes one that others know.
type standings struct {
	by   map[string]*holder
	at   schemas.Position // of the latest event of a token that is in it
	seen schemas.Position // of the latest control event when at was asked for
}

// holder is who acts with credentials. One may have had thousands, each for an hour.
type holder struct {
	tokens map[string]*schemas.TokenSettings // by id
	// kinds are those that say something else than the others: one of each org, role, permissions and whether it is revoked.
	kinds []*schemas.TokenSettings
}

// RightStands is nil as long as no credential says that a job's principal has lost the right to run it, and
// ErrRightLost when one does: it submitted in the job's org and was revoked, and no other of the same name does now; or the
// job's type asks, by now, for a permission that a member has not who submitted it in his own name. Who never had a
// credential is not judged: what he may do is decided elsewhere, as by a Right, and in the ledger's own account by nobody. A bulk
// asks for a credential that may begin one.
//
// A credential that expires takes no right away: it opens nothing any more, but what was submitted while it was valid was
// submitted rightly, and may wait longer than it lives.
//
// What it knows is at most a second old, and asked for once a second at most, however many jobs start. Other errors are an
// *Error with code unavailable: nothing is known.
func (l *Ledger) RightStands(ctx context.Context, j *Job) error {
	err := l.settings.tokenLooks.since(ctx, time.Now().Add(-settingsFreshFor), func(began time.Time) error { return l.lookAtTokens(ctx, began) })
	if err != nil {
		return err
	}
	known, _, _ := l.settings.standingsIn()
	if known == nil {
		return Errorf(CodeUnavailable, "the ledger went back to older data while its credentials were read")
	}
	holds := known.by[j.Principal()]
	if holds == nil {
		return nil
	}
	permission := ""
	t, err := l.Type(ctx, j.Spec.Type)
	switch {
	case err == nil:
		permission = t.Permission
	case AsError(err).Code != CodeUnknownType && AsError(err).Code != CodeInvalidArgument:
		return err
	}
	if rightLost(holds.kinds, j, permission) {
		return ErrRightLost
	}
	return nil
}

// rightLost judges by the credentials of a job's principal.
func rightLost(tokens []*schemas.TokenSettings, j *Job, permission string) bool {
	lost := false
	for _, t := range tokens {
		if !t.Role.Submits() || t.Role != schemas.RoleAdmin && t.Org != j.Org {
			continue
		}
		if j.Spec.Type == BulkType && !t.Role.Bulks() { // who may only submit now goes on with no bulk of his
			continue
		}
		permitted := permission == "" || t.Role != schemas.RoleMember || slices.Contains(t.Permissions, permission)
		switch {
		case permitted && !t.Revoked:
			return false
		case permitted, !t.Revoked && j.SubmittedBy.String() == j.Principal(): // the door asked him for what the type asked for then
			lost = true
		}
	}
	return lost
}

// lookAtTokens reads what has changed of credentials, as it is at a time or later.
func (l *Ledger) lookAtTokens(ctx context.Context, since time.Time) error {
	if err := l.lookSince(ctx, since); err != nil {
		return err
	}
	have, life, seen := l.settings.standingsIn()
	if have != nil && have.seen == seen {
		return nil
	}
	at, err := l.lastControl(ctx, controlTokens)
	if err != nil {
		return err
	}
	var next *standings
	switch {
	case have == nil || at.Seq < have.at.Seq || at.Seq == have.at.Seq && at.ID != have.at.ID:
		next, err = l.readTokens(ctx)
	case at.Seq > have.at.Seq+controlMargin: // to search so far costs the server more than to read them
		next, err = l.readTokens(ctx)
	case at.Seq > have.at.Seq:
		next, err = l.readTokensBehind(ctx, have, at.Seq)
	default:
		same := *have
		next = &same
	}
	if err != nil {
		return err
	}
	next.at, next.seen = at, seen // one that was set meanwhile may be in it, too, and is read again
	l.settings.putStandings(next, life)
	return nil
}

// readTokens reads all credentials: a read each, once in the life of a process. One that a newer version set says nothing here.
func (l *Ledger) readTokens(ctx context.Context) (*standings, error) {
	subjects, err := l.settingSubjects(ctx, schemas.Subject{Control: strings.TrimPrefix(controlTokens, "control.")})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	read := make([]*Entry, len(subjects))
	var next atomic.Int64
	var readers sync.WaitGroup
	for range tokenReads {
		readers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(subjects) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				var err error
				if read[i], err = l.readToken(ctx, subjects[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	readers.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s := &standings{by: make(map[string]*holder)}
	s.add(read)
	return s, nil
}

// readToken reads the event that set a credential; nil where none can be read.
func (l *Ledger) readToken(ctx context.Context, subject string) (*Entry, error) {
	on, err := schemas.ParseSubject(subject)
	if err != nil {
		return nil, err
	}
	e, _, err := l.readSetting(ctx, on)
	if errors.Is(err, ErrUnreadable) {
		return nil, nil
	}
	return e, err
}

// add notes tokens as they were set, in order. Of the holders that are known already none is changed.
func (s *standings) add(entries []*Entry) {
	changed := make(map[string]*holder)
	for _, e := range entries {
		if e == nil {
			continue
		}
		set, ok := e.Data.(*schemas.TokenSet)
		if !ok {
			continue
		}
		actor := set.Settings.Actor.String()
		h := changed[actor]
		if h == nil {
			h = &holder{tokens: make(map[string]*schemas.TokenSettings)}
			if known := s.by[actor]; known != nil {
				maps.Copy(h.tokens, known.tokens)
			}
			changed[actor], s.by[actor] = h, h
		}
		h.tokens[set.Settings.ID] = &set.Settings
	}
	for _, h := range changed {
		h.sort()
	}
}

// sort finds the kinds of tokens.
func (h *holder) sort() {
	seen := make(map[string]bool)
	for _, t := range h.tokens {
		kind := fmt.Sprintf("%s %s %t %q", t.Org, t.Role, t.Revoked, t.Permissions)
		if !seen[kind] {
			seen[kind] = true
			h.kinds = append(h.kinds, t)
		}
	}
}

// readTokensBehind reads on from what is known.
func (l *Ledger) readTokensBehind(ctx context.Context, have *standings, through schemas.Seq) (*standings, error) {
	var read []*Entry
	for seq := have.at.Seq; seq < through; {
		var e *Entry
		err := l.reading(ctx, func(ctx context.Context) (err error) {
			e, err = l.leaderGet(ctx, getRequest{Seq: seq + 1, NextFor: controlTokens})
			return err
		})
		if errors.Is(err, errNoMessage) { // the last of them left for the archive, and was told again
			return l.readTokens(ctx)
		}
		if err != nil {
			return nil, err
		}
		read = append(read, e)
		seq = e.Seq
	}
	next := &standings{by: maps.Clone(have.by)}
	next.add(read)
	return next, nil
}

// standingsIn is what is known of credentials, nil for nothing, in which life of the ledger, and the latest control event.
func (c *settingsCache) standingsIn() (s *standings, life int, seen schemas.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.standings, c.life, c.last
}

// putStandings keeps what was read in a life of the ledger, if that is still its life.
func (c *settingsCache) putStandings(s *standings, life int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life == life {
		c.standings = s
	}
}
