package metrics

import (
	"fmt"
	"testing"

	"github.com/dartwing/jobledger/schemas"
)

// orgs have families of their own only where that was asked for, and those with the most where it is so many.
func TestOrgLabel(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]OrgLabel{"": {}, "off": {}, "all": {on: true}, "top:20": {on: true, top: 20}} {
		if got, err := ParseOrgLabel(text); err != nil || got != want {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"on", "top", "top:", "top:0", "top:-1", "20"} {
		if _, err := ParseOrgLabel(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	var off orgAttempts
	off.count(&schemas.Event{Data: &schemas.Completed{}})
	o := orgAttempts{}
	for i, d := range []schemas.Data{&schemas.Completed{}, &schemas.Failed{}, &schemas.TimedOut{}, &schemas.Released{}, &schemas.Lost{}, &schemas.Canceled{Head: head(1, schemas.StateRunning)},
		&schemas.Canceled{Head: head(1, schemas.StateQueued)}, &schemas.DeadLettered{Head: head(1, schemas.StateRunning)}, &schemas.DeadLettered{Head: head(1, schemas.StateSubmitted)},
		&schemas.Submitted{}, &schemas.Running{}} {
		o.count(&schemas.Event{Subject: schemas.JobSubject("acme", schemas.JobID(fmt.Sprint(i))), Data: d})
	}
	if got := o["acme"]; len(o) != 1 || *got != [outcomes]uint64{1, 1, 1, 1, 1, 1, 1} {
		t.Errorf("counted %v", got)
	}
}
