package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// settingsFreshFor is how long a type's settings are used without asking again: a change made by
	// another process holds everywhere after so long (R-08 allows the door one second).
	settingsFreshFor = time.Second

	// settingsCacheMax bounds the cache; the number of types is the user's.
	settingsCacheMax = 10_000
)

// settingsCache holds types' settings for settingsFreshFor. Only types that exist are held.
type settingsCache struct {
	mu    sync.Mutex
	types map[schemas.TypeName]cachedType
}

type cachedType struct {
	settings *schemas.TypeSettings
	read     time.Time // when the reading of settings began
}

// get returns what is held of name, and whether the caller is the one to read it again. Of several callers
// that find it old one reads, the others go on with what is there.
func (c *settingsCache) get(name schemas.TypeName, now time.Time) (settings *schemas.TypeSettings, refresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held, ok := c.types[name]
	if !ok {
		return nil, true
	}
	if now.Sub(held.read) < settingsFreshFor {
		return held.settings, false
	}
	c.types[name] = cachedType{held.settings, now}
	return held.settings, true
}

// put holds settings that were read, or written, at a time; nil forgets the type.
func (c *settingsCache) put(name schemas.TypeName, settings *schemas.TypeSettings, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.Before(c.types[name].read) {
		return // a later reading, or our own write, is held already
	}
	if settings == nil {
		delete(c.types, name)
		return
	}
	if c.types == nil || len(c.types) >= settingsCacheMax {
		c.types = make(map[schemas.TypeName]cachedType) // rare enough that all may be read again
	}
	c.types[name] = cachedType{settings, at}
}

// Type returns the settings of a registered type, at most a second old. Nobody may change them. The error is
// an *Error with code unknown_type if there is no such type.
func (l *Ledger) Type(ctx context.Context, name schemas.TypeName) (*schemas.TypeSettings, error) {
	if err := schemas.CheckToken("type", string(name)); err != nil {
		return nil, badField("type", err)
	}
	now := time.Now()
	settings, refresh := l.settings.get(name, now)
	if !refresh {
		return settings, nil
	}
	settings, _, err := l.readType(ctx, name)
	if err != nil {
		l.settings.put(name, nil, now)
		return nil, coded(err)
	}
	l.settings.put(name, settings, now)
	if settings == nil {
		return nil, unknownType(name)
	}
	return settings, nil
}

func unknownType(name schemas.TypeName) *Error {
	e := Errorf(CodeUnknownType, "type %s is not registered: register it with `jobledger type add %s`", name, name)
	e.Field = "type"
	return e.with(DetailField, "type")
}

// readType folds the control subject of a type: its last type_set holds all of it. seq is the subject's last
// sequence, whatever stands there; settings are nil if the type was never set.
func (l *Ledger) readType(ctx context.Context, name schemas.TypeName) (settings *schemas.TypeSettings, seq schemas.Seq, err error) {
	at := ControlType(name)
	var last *Entry
	err = l.reading(ctx, func(ctx context.Context) error {
		last, err = l.leaderGet(ctx, getRequest{LastFor: at.String()})
		return err
	})
	if errors.Is(err, errNoMessage) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("settings on %s: %w", at, err)
	}
	if set, ok := last.Data.(*schemas.TypeSet); ok {
		return &set.Settings, last.Seq, nil
	}
	if errors.Is(last.Err, schemas.ErrUndecodable) {
		return nil, last.Seq, fmt.Errorf("settings on %s: %w", at, ErrUnreadable)
	}
	// A foreign message stands last: the truth is further up.
	entries, err := l.subject(ctx, at)
	if err != nil {
		return nil, 0, fmt.Errorf("settings on %s: %w", at, err)
	}
	for _, e := range slices.Backward(entries) {
		if set, ok := e.Data.(*schemas.TypeSet); ok {
			return &set.Settings, last.Seq, nil
		}
	}
	return nil, last.Seq, nil
}

// Types returns the settings of all registered types, by name.
func (l *Ledger) Types(ctx context.Context) ([]*schemas.TypeSettings, error) {
	s, err := l.stream(ctx, StreamLedger)
	if err != nil {
		return nil, coded(err)
	}
	var info *jetstream.StreamInfo
	err = l.asking(ctx, func(ctx context.Context) error {
		info, err = s.Info(ctx, jetstream.WithSubjectFilter(ControlType("*").String()))
		return err
	})
	if err != nil {
		return nil, coded(fmt.Errorf("subjects of types: %w", err))
	}
	names := make([]schemas.TypeName, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		names = append(names, schemas.TypeName(strings.TrimPrefix(subject, ControlType("").String())))
	}
	slices.Sort(names)
	// One literal read each: those jump to their message, however long the ledger is (ENGINE 6).
	all := make([]*schemas.TypeSettings, 0, len(names))
	for _, name := range names {
		settings, _, err := l.readType(ctx, name)
		if err != nil {
			return nil, coded(err)
		}
		if settings != nil {
			all = append(all, settings)
		}
	}
	return all, nil
}

// PutType registers a type or changes its settings, as a type_set event (R-04, DESIGN D11). Settings that
// are in force already write nothing: the event is then nil. Of two writers at once the later one in ledger
// order holds, and both are in the history.
func (l *Ledger) PutType(ctx context.Context, settings schemas.TypeSettings, m Meta, reason string) (*schemas.Event, error) {
	if err := l.checkSettings(ctx, &settings); err != nil {
		return nil, err
	}
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	for try := 0; ; try++ {
		e, err := l.putTypeOnce(ctx, &settings, m, reason, false)
		if !errors.Is(err, ErrRefused) {
			return e, coded(err)
		}
		if !pause(ctx, try) {
			return nil, Errorf(CodeUnavailable, "other writers of type %s were always faster: %v", settings.Name, err)
		}
	}
}

// putTypeOnce writes settings behind what stands there now. onlyNew leaves a type that exists as it is.
func (l *Ledger) putTypeOnce(ctx context.Context, settings *schemas.TypeSettings, m Meta, reason string, onlyNew bool) (*schemas.Event, error) {
	read := time.Now()
	have, seq, err := l.readType(ctx, settings.Name)
	if err != nil {
		return nil, err
	}
	if have != nil && (onlyNew || sameSettings(have, settings)) {
		l.settings.put(settings.Name, have, read)
		return nil, nil
	}
	e := m.event(ControlType(settings.Name), &schemas.TypeSet{Settings: *settings, Reason: reason})
	if err := l.Append(ctx, e, seq); err != nil {
		return nil, err
	}
	l.settings.put(settings.Name, settings, time.Now())
	return e, nil
}

// registerType sets a type that does not exist to the engine's defaults, as dev does for unknown ones.
func (l *Ledger) registerType(ctx context.Context, name schemas.TypeName, m Meta) (*schemas.TypeSettings, error) {
	settings := &schemas.TypeSettings{Name: name}
	for try := 0; ; try++ {
		_, err := l.putTypeOnce(ctx, settings, m, "registered by its first submit", true)
		if err == nil {
			return l.Type(ctx, name)
		}
		if !errors.Is(err, ErrRefused) || !pause(ctx, try) {
			return nil, coded(err)
		}
	}
}

// checkSettings refuses values that could not be kept, such as a window longer than LEDGER's own.
func (l *Ledger) checkSettings(ctx context.Context, t *schemas.TypeSettings) error {
	if err := t.Validate(); err != nil {
		return Errorf(CodeInvalidArgument, "type %s: %v", t.Name, err)
	}
	if len(t.Schema) > 0 {
		if err := schemas.CheckJSON("schema", t.Schema); err != nil {
			return badField("schema", err)
		}
	}
	if t.WindowMS == nil || t.WindowMS.Duration() <= schemas.DedupWindow {
		return nil // not above what every cell judges, whatever its own window
	}
	s, err := l.stream(ctx, StreamLedger)
	if err != nil {
		return coded(err)
	}
	if own := s.CachedInfo().Config.Duplicates; t.WindowMS.Duration() > own {
		return badField("dedup_window_ms", fmt.Errorf("dedup window %s is longer than the ledger's own of %s: choose a shorter one, or provision the cell with a longer",
			t.WindowMS.Duration(), own))
	}
	return nil
}

func sameSettings(a, b *schemas.TypeSettings) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
