package ledger

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// forever is a retention that never ends.
const forever = time.Duration(math.MaxInt64)

// keeping is how long what is kept, and what a legal hold keeps beyond that, as it was at one moment.
type keeping struct {
	cell  time.Duration // forever, or what neither an org nor a type says
	orgs  map[schemas.OrgID]time.Duration
	types map[schemas.TypeName]time.Duration
	holds []schemas.LegalScope
}

// keeping reads all that decides what may be removed, as the ledger's leader knows it.
func (l *Ledger) keeping(ctx context.Context) (*keeping, error) {
	k := &keeping{orgs: make(map[schemas.OrgID]time.Duration), types: make(map[schemas.TypeName]time.Duration)}
	s, err := l.stream(ctx, StreamLedger)
	if err != nil {
		return nil, err
	}
	if k.cell = retentionOf(s.CachedInfo().Config.Metadata); k.cell == 0 {
		k.cell = forever
	}
	for _, kind := range []string{KindOrg, KindType, KindLegalHold} {
		entries, err := l.Settings(ctx, kind)
		if err != nil {
			return nil, fmt.Errorf("what is kept: %w", err)
		}
		for _, e := range entries {
			k.set(e)
		}
	}
	return k, nil
}

func (k *keeping) set(e *Entry) {
	switch d := e.Data.(type) {
	case *schemas.OrgSet:
		if days := d.Settings.RetentionDays; days > 0 {
			k.orgs[d.Settings.Name] = time.Duration(days) * schemas.Day
		}
	case *schemas.TypeSet:
		if days := d.Settings.RetentionDays; days > 0 {
			k.types[d.Settings.Name] = time.Duration(days) * schemas.Day
		}
	case *schemas.LegalHoldSet:
		if d.Settings.On {
			k.holds = append(k.holds, d.Settings.Scope)
		}
	}
}

// retentionDays is what a setting says of it; 0: nothing.
func retentionDays(s schemas.Setting) int {
	switch d := s.(type) {
	case *schemas.OrgSet:
		return d.Settings.RetentionDays
	case *schemas.TypeSet:
		return d.Settings.RetentionDays
	}
	return 0
}

// of is how long the history of a job is kept: the longer of what its org and its type say, else what the cell says.
func (k *keeping) of(org schemas.OrgID, typ schemas.TypeName) time.Duration {
	if d := max(k.orgs[org], k.types[typ]); d > 0 {
		return d
	}
	return k.cell
}

// shortest and longest are over all settings.
func (k *keeping) shortest() time.Duration {
	d := k.cell
	for _, o := range k.orgs {
		d = min(d, o)
	}
	for _, t := range k.types {
		d = min(d, t)
	}
	return d
}

func (k *keeping) longest() time.Duration {
	d := k.cell
	for _, o := range k.orgs {
		d = max(d, o)
	}
	for _, t := range k.types {
		d = max(d, t)
	}
	return d
}

// passed reports whether at is so long ago.
func passed(at time.Time, d time.Duration, now time.Time) bool {
	return d != forever && !at.IsZero() && now.Sub(at) >= d
}

// over reports whether the time of a segment of settings is over: of the settings that its class names, and of all that
// were made since for jobs that it holds.
func (k *keeping) over(ctx context.Context, a *archive, s *archiveSegment, now time.Time) (bool, error) {
	d := k.longest()
	if s.Class != classMany {
		d = k.of(settingsOfClass(s.Class))
	}
	if !passed(s.Ended, d, now) {
		return false, nil
	}
	f, err := a.filter(ctx, s, false)
	if err != nil {
		return false, err
	}
	for org, longer := range k.orgs {
		if longer > d && !passed(s.Ended, longer, now) && f.may(keyOf(pageOrgs+string(org))) {
			return false, nil
		}
	}
	for typ, longer := range k.types {
		if longer > d && !passed(s.Ended, longer, now) && f.may(keyOfType(typ)) {
			return false, nil
		}
	}
	return true, nil
}

// held reports whether a legal hold stands on anything in a segment; of ten thousand that it does not stand on, it may
// keep one.
func (k *keeping) held(ctx context.Context, a *archive, s *archiveSegment) (bool, error) {
	for _, h := range k.holds {
		f, err := a.filter(ctx, s, false)
		if err != nil {
			return false, err
		}
		on := f.may(keyOf(pageOrgs + string(h.Org)))
		if h.Type != "" {
			on = on && f.may(keyOfTypeIn(h.Org, h.Type))
		}
		if h.Job != "" && on {
			if _, ok := timed(h.Job); ok {
				if f, err = a.filter(ctx, s, true); err != nil {
					return false, err
				}
			}
			on = f.may(keyOf(schemas.JobSubject(h.Org, h.Job).String()))
		}
		if on {
			return true, nil
		}
	}
	return false, nil
}
