package handlers

import (
	"testing"
	"time"
)

// A late claim halves how many are made at once and begins a pause, which doubles with each late claim up to a bound that
// dispatch may take; those that were under way with it change nothing; claims in time bring all slots back (DESIGN D7).
func TestClaimsBackOff(t *testing.T) {
	t.Parallel()
	const slots = 64
	now := time.Unix(1000, 0)
	c := claims{out: slots}
	if c.full() || c.room(slots, now) != slots {
		t.Fatal("it is bounded from the start")
	}
	for want := slots / 2; want >= 1; want /= 2 {
		sent := now
		now = now.Add(5 * time.Second)
		wait := c.late(sent, now)
		if c.most != want || wait < latePauseMin/2 || wait > latePauseMax || c.room(slots, now) != 0 {
			t.Fatalf("%d at once, a pause of %s", c.most, wait)
		}
		if c.late(sent, now) != 0 || c.most != want {
			t.Fatal("one that was under way with it counts again")
		}
		c.out, now = want, now.Add(wait)
		if c.room(slots, now) != 0 || !c.full() {
			t.Fatal("there is room for more than half")
		}
	}
	c.out = 0
	if c.pause != latePauseMax || c.room(slots, now) != 1 {
		t.Errorf("behind many late ones there is room for %d, and the pause is %s", c.room(slots, now), c.pause)
	}
	for n := 1; n < slots; n++ {
		if c.most != n {
			t.Fatalf("after %d in time there are %d at once", n-1, c.most)
		}
		c.inTime(slots)
	}
	if c.most != 0 || c.pause != 0 || c.room(slots, now) != slots {
		t.Errorf("it does not come back: %+v", c)
	}
}
