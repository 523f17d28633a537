package ledger

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

func unknownType(name schemas.TypeName) *Error {
	e := Errorf(CodeUnknownType, "type %s is not registered: register it with `jobledger type add %s`", name, name)
	e.Field = "type"
	return e.with(DetailField, "type")
}

// readSetting folds a subject of settings: the last event there holds all of them. seq is the subject's last
// sequence, whatever stands there; the entry is nil if nothing was ever set.
func (l *Ledger) readSetting(ctx context.Context, at schemas.Subject) (e *Entry, seq schemas.Seq, err error) {
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
	if settingOn(last, at) {
		return last, last.Seq, nil
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
		if settingOn(e, at) {
			return e, last.Seq, nil
		}
	}
	return nil, last.Seq, nil
}

// settingOn reports whether e is the setting of the thing whose subject this is.
func settingOn(e *Entry, at schemas.Subject) bool {
	set, ok := e.Data.(schemas.Setting)
	return ok && set.Place() == at
}

// Types returns the settings of all registered types, by name.
func (l *Ledger) Types(ctx context.Context) ([]*schemas.TypeSettings, error) {
	entries, err := l.Settings(ctx, KindType)
	if err != nil {
		return nil, err
	}
	all := make([]*schemas.TypeSettings, 0, len(entries))
	for _, e := range entries {
		all = append(all, &e.Data.(*schemas.TypeSet).Settings)
	}
	return all, nil
}

// Setting returns the event that holds the settings of one thing of the cell, as they are now; nil if it was never
// set. kind is one of the Kinds.
func (l *Ledger) Setting(ctx context.Context, kind, name string) (*Entry, error) {
	if err := schemas.CheckToken(kind, name); err != nil {
		return nil, badField(kind, err)
	}
	e, _, err := l.readSetting(ctx, schemas.ControlSubject("cell", kind, name))
	return e, coded(err)
}

// Settings returns the events that hold the settings of all things of a kind, as they are now, by name.
func (l *Ledger) Settings(ctx context.Context, kind string) ([]*Entry, error) {
	return l.settingsOf(ctx, schemas.ControlSubject("cell", kind, "*"))
}

// settingSubjects are all subjects of settings that a pattern takes, sorted.
func (l *Ledger) settingSubjects(ctx context.Context, pattern schemas.Subject) ([]string, error) {
	s, err := l.stream(ctx, StreamLedger)
	if err != nil {
		return nil, err
	}
	var info *jetstream.StreamInfo
	err = l.asking(ctx, func(ctx context.Context) error {
		info, err = s.Info(ctx, jetstream.WithSubjectFilter(pattern.String()))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("subjects %s: %w", pattern, err)
	}
	return slices.Sorted(maps.Keys(info.State.Subjects)), nil
}

// settingsOf returns the events that hold the settings of all things that a pattern takes.
func (l *Ledger) settingsOf(ctx context.Context, pattern schemas.Subject) ([]*Entry, error) {
	subjects, err := l.settingSubjects(ctx, pattern)
	if err != nil {
		return nil, coded(err)
	}
	// One literal read each: those jump to their message, however long the ledger is (ENGINE 6).
	all := make([]*Entry, 0, len(subjects))
	for _, subject := range subjects {
		at, err := schemas.ParseSubject(subject)
		if err != nil {
			return nil, coded(err)
		}
		e, _, err := l.readSetting(ctx, at)
		if err != nil {
			return nil, coded(err)
		}
		if e != nil {
			all = append(all, e)
		}
	}
	return all, nil
}

// PutType registers a type or changes its settings, as a type_set event (R-04, DESIGN D11). Settings that
// are in force already write nothing: the event is then nil. Of two writers at once the later one in ledger
// order holds, and both are in the history.
func (l *Ledger) PutType(ctx context.Context, settings schemas.TypeSettings, m Meta, reason string) (*schemas.Event, error) {
	if err := l.CheckType(ctx, &settings); err != nil {
		return nil, err
	}
	set := &schemas.TypeSet{Settings: settings, Reason: reason}
	return l.Put(ctx, m, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil })
}

// Put changes the settings of the thing at a subject (DESIGN D11). change gets what is in force, nil if nothing was
// ever set, and returns what is to be; it may be called again when somebody else was faster. Settings that are in
// force already write nothing: the event is then nil. An error of change is returned as it is; org_not_found: an org that
// was deleted is not changed any more (OrgDeleted).
func (l *Ledger) Put(ctx context.Context, m Meta, at schemas.Subject, change func(have schemas.Setting) (schemas.Setting, error)) (*schemas.Event, error) {
	return l.PutIf(ctx, m, at, nil, change)
}

// PutIf is Put for a caller who has seen the settings at a sequence, and changes them as long as they are those: else,
// and also if somebody has set the same meanwhile, the error is version_conflict and tells who changed them (R-713, C45).
// ifSeq is the sequence of the event that set what was seen, 0 for a thing that was never set, nil for any.
//
// When a longer retention has been set without an error, no removal that was decided without it is made any more.
func (l *Ledger) PutIf(ctx context.Context, m Meta, at schemas.Subject, ifSeq *schemas.Seq, change func(have schemas.Setting) (schemas.Setting, error)) (*schemas.Event, error) {
	var was, is int // days
	e, err := l.control(ctx, at, func(ctx context.Context) (*schemas.Event, error) {
		return l.putOnce(ctx, m, at, ifSeq, func(have schemas.Setting) (schemas.Setting, error) {
			want, err := change(have)
			was, is = retentionDays(have), retentionDays(want)
			return want, err
		})
	})
	longer := e != nil && was != is && (is == 0 || is > was)
	if again := e == nil && is > 0; err != nil || !longer && !again { // again: the first time, the fence may have failed
		return e, err
	}
	return e, coded(l.fenceRemovals(ctx, at.String()))
}

// control appends to a control subject: read, decide, append, and again as long as others were faster.
func (l *Ledger) control(ctx context.Context, at schemas.Subject, once func(ctx context.Context) (*schemas.Event, error)) (*schemas.Event, error) {
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	for try := 0; ; try++ {
		e, err := once(ctx)
		if !errors.Is(err, ErrRefused) {
			return e, coded(err)
		}
		if !pause(ctx, try) {
			return nil, Errorf(CodeUnavailable, "other writers of %s were always faster: %v", at, err)
		}
	}
}

func (l *Ledger) putOnce(ctx context.Context, m Meta, at schemas.Subject, ifSeq *schemas.Seq, change func(have schemas.Setting) (schemas.Setting, error)) (*schemas.Event, error) {
	read := l.settings.position()
	last, seq, err := l.readSetting(ctx, at)
	if err != nil {
		return nil, err
	}
	if err := sameVersion(at, last, ifSeq); err != nil {
		return nil, err
	}
	var have schemas.Setting
	if last != nil {
		have = last.Data.(schemas.Setting)
	}
	want, err := change(have)
	if err != nil {
		return nil, err
	}
	if err := want.Validate(); err != nil {
		return nil, Errorf(CodeInvalidArgument, "%s: %v", at, err)
	}
	if have != nil && sameSettings(have.Stored(), want.Stored()) {
		l.settings.put(have, at, read)
		return nil, nil
	}
	if err := final(have); err != nil {
		return nil, err
	}
	e := m.event(at, want)
	if err := l.Append(ctx, e, seq); err != nil {
		return nil, err
	}
	l.settings.put(want, at, schemas.Position{Seq: e.Seq, ID: e.ID})
	return e, nil
}

// sameVersion refuses to change settings that are not those that the caller has seen.
func sameVersion(at schemas.Subject, last *Entry, ifSeq *schemas.Seq) error {
	var is schemas.Seq
	if last != nil {
		is = last.Seq
	}
	if ifSeq == nil || *ifSeq == is {
		return nil
	}
	if last != nil && *ifSeq == 0 {
		if s, ok := last.Data.(*schemas.ScheduleSet); ok && s.Settings.Removed {
			return nil // what was removed is to be added anew, as if it had never been set
		}
	}
	if last == nil {
		return Errorf(CodeVersionConflict, "%s was never set, and not at sequence %d", at, *ifSeq).with(DetailSeq, is)
	}
	return Errorf(CodeVersionConflict, "the settings of sequence %d were changed by %s at sequence %d: look at them, and change those", *ifSeq,
		cmp.Or(last.Actor.String(), "somebody"), is).with(DetailSeq, is).with(DetailActor, last.Actor.String()).with(DetailTime, last.Time)
}

// registerType sets a type that does not exist to the engine's defaults, as dev does for unknown ones.
func (l *Ledger) registerType(ctx context.Context, name schemas.TypeName, m Meta) (*schemas.TypeSettings, error) {
	_, err := l.Put(ctx, m, ControlType(name), func(have schemas.Setting) (schemas.Setting, error) {
		if have != nil {
			return have, nil // somebody else's, as it is
		}
		return &schemas.TypeSet{Settings: schemas.TypeSettings{Name: name}, Reason: "registered by its first submit"}, nil
	})
	if err != nil {
		return nil, err
	}
	return l.Type(ctx, name)
}

// CheckType refuses values that could not be kept, such as a window longer than LEDGER's own.
func (l *Ledger) CheckType(ctx context.Context, t *schemas.TypeSettings) error {
	if err := t.Validate(); err != nil {
		return Errorf(CodeInvalidArgument, "type %s: %v", t.Name, err)
	}
	if strings.HasPrefix(string(t.Name), schemas.ReservedPrefix) {
		return badField("name", reserved("type", string(t.Name)))
	}
	if strings.HasPrefix(string(t.Queue), schemas.ReservedPrefix) {
		return badField("queue", reserved("queue", string(t.Queue)))
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

func sameSettings(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// SettingHistory returns the events that ever set a thing of the cell, oldest first: under which rules anything
// happened (DESIGN D11). It is empty if the thing was never set.
func (l *Ledger) SettingHistory(ctx context.Context, kind, name string) ([]*Entry, error) {
	if err := schemas.CheckToken(kind, name); err != nil {
		return nil, badField(kind, err)
	}
	at := schemas.ControlSubject("cell", kind, name)
	hot, err := l.subject(ctx, at)
	if err != nil {
		return nil, coded(fmt.Errorf("settings on %s: %w", at, err))
	}
	s, err := l.completed(ctx, at, hot)
	if err != nil {
		return nil, coded(err)
	}
	return slices.DeleteFunc(slices.Clone(s.entries), func(e *Entry) bool { return !settingOn(e, at) }), nil
}
