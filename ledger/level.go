package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A ledger's level says what a program must know to work on it. It stands in LEDGER's metadata and only rises: as soon as
// something is used that an older program would take for nothing, as events in ARCHIVE are to one that reads LEDGER alone.
// Programs from before there were levels do not look.
const (
	metaLevel = "jobledger.level" // absent: 0

	// levelArchive: events may stand in ARCHIVE alone, and jobs begin with carried.
	levelArchive = 1
	// levelKnown is the highest level that this program knows.
	levelKnown = levelArchive

	// levelTimeout bounds the look at the level that goes before a call's own work: whoever cannot look goes on, and
	// looks again a streamConfigTTL later.
	levelTimeout = 2 * time.Second
	// levelEvery is how often WatchLevel asks, which looks once in a streamConfigTTL.
	levelEvery = streamConfigTTL / 4
)

// ErrTooOld: the ledger is in use by programs that are newer than this one, in a way that this one would misread.
var ErrTooOld = errors.New("this program is too old for the ledger")

// levelOf reads the level from LEDGER's metadata. What is no number was written by a newer program than this.
func levelOf(metadata map[string]string) int {
	text, there := metadata[metaLevel]
	if !there {
		return 0
	}
	level, err := strconv.Atoi(text)
	if err != nil || level < 0 {
		return levelKnown + 1
	}
	return level
}

// tooOld is the error for a LEDGER whose level this program does not know; nil for any other.
func tooOld(name string, metadata map[string]string) error {
	if levelOf(metadata) <= levelKnown {
		return nil
	}
	e := Errorf(CodeUnavailable, "stream %s needs a newer jobledger: its level is %s, this program knows %d. Nothing was changed. Use the version that the cell's servers run, or a newer one",
		name, metadata[metaLevel], levelKnown)
	e.Cause = ErrTooOld
	return e.with("level", metadata[metaLevel]).with("known", levelKnown)
}

// Level is nil as long as this program may work on the ledger, as far as is known: it looks once a minute; else the error
// wraps ErrTooOld. What cannot be found out now is as it was. Of many callers at once one looks.
func (l *Ledger) Level(ctx context.Context) error {
	known := l.config.Load()
	if known != nil && time.Since(known.at) < streamConfigTTL {
		return known.tooOld
	}
	looked, now := l.levelLooked.Load(), time.Now().UnixNano()
	if (looked == 0 || now-looked >= int64(streamConfigTTL)) && l.levelLooked.CompareAndSwap(looked, now) {
		ctx, cancel := context.WithTimeout(ctx, levelTimeout)
		defer cancel()
		if _, err := l.streamConfig(ctx); err == nil || errors.Is(err, ErrTooOld) {
			return err
		}
	}
	if known == nil {
		return nil
	}
	return known.tooOld
}

// WatchLevel returns nil when ctx ends, and an error that wraps ErrTooOld as soon as this program must no longer work on
// the ledger.
func (l *Ledger) WatchLevel(ctx context.Context) error {
	for {
		if err := l.Level(ctx); err != nil {
			return err
		}
		if !sleep(ctx, levelEvery) {
			return nil
		}
	}
}

// raiseLevel has LEDGER's metadata name a level, at least. Who knows of levels at all knows levelArchive, so nobody has to
// be waited for; a later level is to be in force for a streamConfigTTL before anything is written that needs it.
//
// If this process dies in here, the level is raised or not, and whoever needs it raises it again.
func (l *Ledger) raiseLevel(ctx context.Context, level int) error {
	if known, err := l.streamConfig(ctx); err != nil || known.level >= level {
		return err
	}
	s, err := l.stream(ctx, StreamLedger)
	if err != nil {
		return err
	}
	c := s.CachedInfo().Config
	if err := tooOld(StreamLedger, c.Metadata); err != nil {
		return err
	}
	if !setLevel(&c, level) {
		return nil
	}
	err = l.asking(ctx, func(ctx context.Context) error {
		_, err := l.js.UpdateStream(ctx, c)
		return err
	})
	if err != nil {
		return fmt.Errorf("raise the level of stream %s to %d: %w", StreamLedger, level, err)
	}
	l.config.Store(nil)
	return nil
}

// setLevel has a configuration name a level at least; false if it does already.
func setLevel(c *jetstream.StreamConfig, level int) bool {
	if levelOf(c.Metadata) >= level {
		return false
	}
	c.Metadata = maps.Clone(c.Metadata)
	c.Metadata[metaLevel] = strconv.Itoa(level)
	return true
}
