package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// Retention classes. The archiver puts what is kept for the same time into the same segment, so that a segment is removed
// as a whole when its time is over, and that time is told by its record alone: the latest finish of its jobs, and the
// settings that its class names. The settings are looked up when it is to be removed, not when it is
// written: who raises a retention later is heard.
const (
	classDefault = ""        // the cell's own retention
	classOpen    = "open"    // jobs that were not over yet: their segment is due when each has been over for its time
	classControl = "control" // settings, and messages of no job: never removed
	classMany    = "many"    // jobs of more settings than a step makes segments of: kept as long as any setting says
	classOrg     = "org:"    // + org
	classType    = "type:"   // + type
	classBoth    = "both:"   // + org + ":" + type: the longer of the two

	// classesMax is how many classes of settings one step tells apart: each is a segment of its own.
	classesMax = 64
)

// classified is what the class of a subject's messages was decided by.
type classified struct {
	class string
	typ   schemas.TypeName   // of its latest life; empty: of no job
	types []schemas.TypeName // all that its messages in the stretch name
	ended time.Time          // when the job was over; zero: it is not, or it is none
	since time.Time          // when it was submitted; zero: nobody knows
}

// classOf names the settings that decide how long a finished job is kept.
func (l *Ledger) classOf(ctx context.Context, org schemas.OrgID, typ schemas.TypeName) (string, error) {
	o, err := l.Org(ctx, org)
	if err != nil {
		return "", err
	}
	byOrg, byType := o != nil && o.RetentionDays > 0, false
	if typ != "" {
		t, err := l.Type(ctx, typ)
		if err != nil && AsError(err).Code != CodeUnknownType {
			return "", err
		}
		byType = err == nil && t.RetentionDays > 0
	}
	switch {
	case byOrg && byType:
		return classBoth + string(org) + ":" + string(typ), nil
	case byOrg:
		return classOrg + string(org), nil
	case byType:
		return classType + string(typ), nil
	}
	return classDefault, nil
}

// settingsOfClass are the org and the type whose settings a class names, empty where it names none.
func settingsOfClass(class string) (org schemas.OrgID, typ schemas.TypeName) {
	if rest, ok := strings.CutPrefix(class, classOrg); ok {
		return schemas.OrgID(rest), ""
	}
	if rest, ok := strings.CutPrefix(class, classType); ok {
		return "", schemas.TypeName(rest)
	}
	if rest, ok := strings.CutPrefix(class, classBoth); ok {
		o, t, _ := strings.Cut(rest, ":")
		return schemas.OrgID(o), schemas.TypeName(t)
	}
	return "", ""
}

// endedAt is from when a job's retention counts: its finish, of a dead letter its closing; zero while it is not over
//
func endedAt(j *Job) time.Time {
	switch {
	case !j.State.Finished():
		return time.Time{}
	case j.State != schemas.StateDeadLettered:
		return j.FinishedAt
	case j.Resolution == schemas.ResolutionOpen:
		return time.Time{}
	case j.ResolvedAt.After(j.FinishedAt):
		return j.ResolvedAt
	}
	return j.FinishedAt
}

// classify gives each message that leaves its class: nothing asks for it behind that.
func (a *Archiver) classify(ctx context.Context, s *departure, w *segmentWriter) error {
	type pair struct {
		org schemas.OrgID
		typ schemas.TypeName
	}
	known := make(map[pair]string)
	classes := make(map[string]bool)
	latest, err := a.l.latest(ctx)
	if err != nil {
		return err
	}
	passed := 0
	for _, p := range s.places {
		if p.first > s.through {
			break
		}
		for ; passed < len(s.messages) && s.messages[passed].Seq <= p.first; passed++ {
			latest = later(latest, s.messages[passed].Time)
		}
		c := &p.classified
		if !c.ended.IsZero() && p.endsHere() {
			c.ended = later(c.ended, latest)
		}
		if c.class == "" {
			at := pair{p.at.Org, c.typ}
			class, ok := known[at]
			if !ok {
				var err error
				if class, err = a.l.classOf(ctx, at.org, at.typ); err != nil {
					return err
				}
				if !classes[class] && len(classes) >= classesMax {
					class = classMany
				}
				known[at], classes[class] = class, true
			}
			c.class = class
		}
		w.classify(p.subject, c)
	}
	return nil
}

// latest is the latest time that a commit of the archive ends with. NATS takes what time its computer says: a server may
// have begun with a clock that was years behind. What is behind that commit cannot have been before it all the same.
func (l *Ledger) latest(ctx context.Context) (time.Time, error) {
	c, err := l.archive.refresh(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("archive: %w", err)
	}
	return c.latest(c.through.Seq), nil
}

// latest is the latest time that a commit ends with, of those up to the one that holds a sequence.
func (c *catalog) latest(seq schemas.Seq) (at time.Time) {
	for i := range c.commits {
		if at = later(at, c.commits[i].throughAt); c.commits[i].through.Seq >= seq {
			break
		}
	}
	return at
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// endsHere reports that a job which is over was not before the stretch.
func (p *leavingPlace) endsHere() bool {
	if len(p.moves) == 0 {
		return false
	}
	was := p.moves[0].Was
	return !was.State.Finished() || was.Open
}

// settled says what is known of a job that need not be carried: j is nothing where its beginning was removed from the
// archive, or never was.
func (s *departure) settled(p *leavingPlace, j *Job) {
	if j.Exists() {
		p.classified = classified{typ: j.Spec.Type, types: p.types, ended: endedAt(j), since: j.SubmittedAt}
		if j.Generation > 1 {
			p.since = time.Time{} // the place may hold the end of an earlier life of the id, which began nobody knows when
		}
		switch {
		case p.ended.IsZero():
			p.class = classOpen
		case len(p.types) > 1:
			p.class = classMany // an id may be used again for another type: each life is kept as long as any of them
		}
		return
	}
	types := p.types
	p.classified = classified{class: classControl, types: types} // no event of ours
	for _, e := range p.entries() {
		if errors.Is(e.Err, schemas.ErrForeign) {
			continue
		}
		// The rest of a story whose beginning is past its retention: the job has been over since, at the latest.
		p.class, p.ended = classDefault, e.Time
		if typ := typeOf(e.Data); typ != "" {
			p.typ = typ
		}
	}
	if p.class == classDefault && len(types) > 1 {
		p.class = classMany
	}
}

// noteTypes keeps which types the messages of a place name: more than one where an id was used again for another type. What
// is counted twice is noted once.
func (p *leavingPlace) noteTypes(entries []*Entry) {
	for _, e := range entries {
		if typ := typeOf(e.Data); typ != "" && !slices.Contains(p.types, typ) {
			p.types = append(p.types, typ)
		}
	}
}

// begunBehind says what is known of a job that LEDGER begins behind the stretch.
func (p *leavingPlace) begunBehind(entries []*Entry) {
	p.noteTypes(entries)
	p.classified = classified{class: classOpen, types: p.types}
	if len(p.types) > 0 {
		p.typ = p.types[len(p.types)-1]
	}
}
