package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// How long history is kept counts from the finish of its job: as its org or its type says, the longer of both
// where both do, else as the cell says. The cell's stands in LEDGER's own metadata, like the hot window, so that every
// process knows it.

const (
	// RetentionForever as ProvisionConfig.Retention keeps what neither an org nor a type limits.
	RetentionForever time.Duration = -1
	// RetentionMin is the shortest that can be set.
	RetentionMin = schemas.RetentionDaysMin * schemas.Day

	// metaRetention is the cell's retention in LEDGER's metadata, as a duration, "0s" for ever; absent: the default.
	metaRetention = "jobledger.retention"

	retentionDefault = schemas.RetentionDaysDefault * schemas.Day
)

func checkRetention(d time.Duration) error {
	if d > 0 && (d < RetentionMin || d > schemas.RetentionDaysMax*schemas.Day) {
		return badField("retention", fmt.Errorf("retention %s is outside %d to %d days: choose one in between, or 0 for ever", d, schemas.RetentionDaysMin,
			schemas.RetentionDaysMax))
	}
	return nil
}

// retentionOf reads the cell's retention from a stream's metadata; 0 is for ever. What cannot be read keeps.
func retentionOf(metadata map[string]string) time.Duration {
	text, ok := metadata[metaRetention]
	if !ok {
		return retentionDefault
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0
	}
	return d
}

// Retention is how long history is kept behind the finish of its job, where neither its org nor its type say otherwise, as
// it was set at most a minute ago; 0: for ever.
func (l *Ledger) Retention(ctx context.Context) (time.Duration, error) {
	c, err := l.streamConfig(ctx)
	if err != nil {
		return 0, err
	}
	return c.retention, nil
}
