package ledger

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// settingsFreshFor is how long settings are used without asking whether any has changed: a change made by
	// another process holds everywhere after so long (R-08 allows the door one second).
	settingsFreshFor = time.Second

	// settingsCacheMax bounds the cache; the number of types and orgs is the user's.
	settingsCacheMax = 100_000

	// controlAll chooses the subjects of all settings of the cell, controlHolds those of holds.
	controlAll   = "control.cell.>"
	controlHolds = "control.cell." + KindHold + ".*"

	// controlLastEvery is how often the latest control event itself is looked for, which costs the server a look at
	// every subject of settings: as many as there are orgs.
	controlLastEvery = 30 * time.Second

	// controlMargin is how many messages before the end a look that begins anew leaves to the next one: more than a deposed
	// leader is behind. To search from the latest control event on would cost the server a look into every block behind it.
	controlMargin = 1 << 17
)

// settingsCache holds the settings that submits and claims asked for. All of them hold until some control event is
// stored: once a second one reader asks for the sequence of the latest, so that a submit costs no read, however many
// orgs and types there are. After a change each is read again when it is asked for, once.
type settingsCache struct {
	looks      looks // at the control events
	holdLooks  looks // and at holds
	tokenLooks looks // and at credentials

	mu    sync.Mutex
	tail  controlTail            // what the latest look left
	last  schemas.Position       // of the latest control event when the latest look began
	held  map[string]heldSetting // by schemas.Subject.Control
	holds holdList
	// standings are those of the ledger's life, which ends where sequences are given out again; nil: not read.
	standings *standings
	life      int
}

// controlTail is what a look at the control events leaves for the next: none stands behind last up to clear (clearTo). From
// there to end one look has found none, and the next searches there again: a look is two requests, and the second may be
// answered by a deposed leader, whose log is shorter than what the first said.
type controlTail struct {
	last       schemas.Position
	clear, end schemas.Seq
	found      time.Time // when last was looked for
	reconnects uint64    // of the connection then: behind another one may stand another ledger
}

// heldSetting are settings as they were at a control event, or later.
type heldSetting struct {
	set schemas.Setting // nil: never set
	at  schemas.Position
}

// saw notes the latest control event. One that should come later, or is another than before, means that sequences
// were given out again, as after a restore: nothing that is held is worth anything.
func (c *settingsCache) saw(last schemas.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last.Seq < c.last.Seq || last.Seq == c.last.Seq && last.ID != c.last.ID {
		c.held, c.holds, c.standings = nil, holdList{}, nil
		c.life++
	}
	c.last = last
}

// tailed returns what the latest look left, and leave leaves it to the next.
func (c *settingsCache) tailed() controlTail {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tail
}

func (c *settingsCache) leave(t controlTail) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tail = t
}

// position is the control event that what is read from now on is at, or later.
func (c *settingsCache) position() schemas.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// named returns settings of a thing of the cell that no control event has changed since they were read.
func (c *settingsCache) named(kind, name string) (set schemas.Setting, ok bool) {
	var room [160]byte // the key of schemas.ControlSubject, without a text for each look
	key := append(append(append(append(room[:0], "cell."...), kind...), '.'), name...)
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.held[string(key)]
	if !ok || h.at.Seq < c.last.Seq {
		return nil, false
	}
	return h.set, true
}

// put holds what stands at a subject of settings, read or written at a position; nil was never set.
func (c *settingsCache) put(set schemas.Setting, on schemas.Subject, at schemas.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, ok := c.held[on.Control]; ok && h.at.Seq > at.Seq {
		return // a later reading, or our own write, is held already
	}
	if c.held == nil || len(c.held) >= settingsCacheMax {
		c.held = make(map[string]heldSetting) // rare enough that all may be read again
	}
	c.held[on.Control] = heldSetting{set, at}
}

// inForce returns the settings of one thing of the cell, at most a second old; nil if it was never set. Nobody may
// change them.
func (l *Ledger) inForce(ctx context.Context, kind, name string) (schemas.Setting, error) {
	if err := l.lookSince(ctx, time.Now().Add(-settingsFreshFor)); err != nil {
		return nil, err
	}
	return l.asLooked(ctx, kind, name)
}

// asLooked is inForce by the latest look, for a caller who has just seen to it that there was one.
func (l *Ledger) asLooked(ctx context.Context, kind, name string) (schemas.Setting, error) {
	if set, ok := l.settings.named(kind, name); ok {
		return set, nil
	}
	on := schemas.ControlSubject("cell", kind, name)
	at := l.settings.position()
	e, _, err := l.readSetting(ctx, on)
	if err != nil {
		return nil, coded(err)
	}
	var set schemas.Setting
	if e != nil {
		set = e.Data.(schemas.Setting)
	}
	// That a type is missing is not kept: it may be registered in this moment. Nor that a token is: strangers invent them.
	if set != nil || kind != KindType && kind != KindToken {
		l.settings.put(set, on, at)
	}
	return set, nil
}

// lookSince returns when the latest control event is known as it was at a time, or later.
func (l *Ledger) lookSince(ctx context.Context, since time.Time) error {
	return l.settings.looks.since(ctx, since, func(time.Time) error {
		last, err := l.latestControl(ctx)
		if err != nil {
			return err
		}
		l.settings.saw(last)
		return nil
	})
}

// latestControl is the position of the latest control event. As a rule it reads on from where the look before began, which
// costs what was stored since.
func (l *Ledger) latestControl(ctx context.Context) (schemas.Position, error) {
	t := l.settings.tailed()
	state, err := l.state(ctx)
	if err != nil {
		return schemas.Position{}, err
	}
	now, end, reconnects := time.Now(), schemas.Seq(state.LastSeq), l.nc.Stats().Reconnects
	if !t.found.IsZero() && now.Sub(t.found) < controlLastEvery && t.reconnects == reconnects && end >= t.end {
		err := l.reading(ctx, func(ctx context.Context) error {
			_, err := l.leaderGet(ctx, getRequest{Seq: t.clear + 1, NextFor: controlAll})
			return err
		})
		if errors.Is(err, errNoMessage) {
			t.clear, t.end = t.end, end
			l.settings.leave(t)
			return t.last, nil
		}
		if err != nil {
			return schemas.Position{}, err
		}
	}
	last, err := l.lastControl(ctx, controlAll)
	if err != nil {
		return schemas.Position{}, err
	}
	if t.reconnects != reconnects || end < t.end {
		t.end = 0 // it may speak of another ledger
	}
	l.settings.leave(controlTail{last: last, clear: clearTo(last.Seq, t.end, end), end: max(end, last.Seq), found: now, reconnects: reconnects})
	return last, nil
}

// clearTo is how far nothing stands behind the latest control event for sure: up to the end that the look before saw, 0 if there
// was none, and but for a margin up to the end that this one has seen before it looked.
func clearTo(last, before, end schemas.Seq) schemas.Seq {
	clear := max(last, before)
	if end > controlMargin {
		clear = max(clear, end-controlMargin)
	}
	return clear
}

// lastControl is the position of the latest control event on the subjects that a pattern takes, whatever it is; zero if
// there is none.
func (l *Ledger) lastControl(ctx context.Context, pattern string) (at schemas.Position, err error) {
	err = l.reading(ctx, func(ctx context.Context) error {
		e, err := l.leaderGet(ctx, getRequest{LastFor: pattern})
		if err == nil {
			at = e.Position()
		}
		return err
	})
	if errors.Is(err, errNoMessage) {
		return schemas.Position{}, nil
	}
	return at, err
}

// Type returns the settings of a registered type, at most a second old. Nobody may change them. The error is
// an *Error with code unknown_type if there is no such type.
func (l *Ledger) Type(ctx context.Context, name schemas.TypeName) (*schemas.TypeSettings, error) {
	if err := schemas.CheckToken("type", string(name)); err != nil {
		return nil, badField("type", err)
	}
	set, err := l.inForce(ctx, KindType, string(name))
	if err != nil {
		return nil, err
	}
	if t, ok := set.(*schemas.TypeSet); ok {
		return &t.Settings, nil
	}
	return nil, unknownType(name)
}

// Org returns the settings of an org, at most a second old; nil if it was never set. Nobody may change them.
func (l *Ledger) Org(ctx context.Context, name schemas.OrgID) (*schemas.OrgSettings, error) {
	set, err := l.inForce(ctx, KindOrg, string(name))
	if o, ok := set.(*schemas.OrgSet); ok {
		return &o.Settings, nil
	}
	return nil, err
}

// Queue returns the settings of a queue, at most a second old; nil if it was never set. Nobody may change them.
func (l *Ledger) Queue(ctx context.Context, name schemas.QueueName) (*schemas.QueueSettings, error) {
	set, err := l.inForce(ctx, KindQueue, string(name))
	if q, ok := set.(*schemas.QueueSet); ok {
		return &q.Settings, nil
	}
	return nil, err
}

// Token returns the settings of a credential, at most a second old; nil if there is none with that id. Nobody may change
// them.
func (l *Ledger) Token(ctx context.Context, id string) (*schemas.TokenSettings, error) {
	set, err := l.inForce(ctx, KindToken, id)
	if t, ok := set.(*schemas.TokenSet); ok {
		return &t.Settings, nil
	}
	return nil, err
}

// TokenHeld is Token without a look at the ledger: whether one with that id is known in this process, however old what is
// known of it may be.
func (l *Ledger) TokenHeld(id string) bool {
	l.settings.mu.Lock()
	defer l.settings.mu.Unlock()
	return l.settings.held[schemas.ControlSubject("cell", KindToken, id).Control].set != nil
}
