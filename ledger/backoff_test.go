package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// TestBackoffRanges shows R-302: base 60 s doubling, with a jitter of 20 % up or down that depends on job id
// and retry alone, spread over the whole range, then clamped to an hour.
func TestBackoffRanges(t *testing.T) {
	ranges := []struct{ low, high time.Duration }{
		{48 * time.Second, 72 * time.Second},
		{96 * time.Second, 144 * time.Second},
		{192 * time.Second, 288 * time.Second},
		{384 * time.Second, 576 * time.Second},
		{768 * time.Second, 1152 * time.Second},
		{1536 * time.Second, 2304 * time.Second},
		{3072 * time.Second, time.Hour},
		{time.Hour, time.Hour},
		{time.Hour, time.Hour},
		{time.Hour, time.Hour},
	}
	const jobs = 2000
	for i, r := range ranges {
		n := i + 1 // the retry
		var sum time.Duration
		lowest, highest := time.Duration(1<<62), time.Duration(0)
		for k := range jobs {
			id := schemas.JobID(fmt.Sprintf("job-%d", k))
			d := ledger.RetryDelay(id, n, schemas.Backoff{})
			if d < r.low || d > r.high {
				t.Fatalf("retry %d of %s after %s, want %s to %s", n, id, d, r.low, r.high)
			}
			if again := ledger.RetryDelay(id, n, schemas.Backoff{}); again != d {
				t.Fatalf("retry %d of %s after %s, then %s", n, id, d, again)
			}
			sum += d
			lowest, highest = min(lowest, d), max(highest, d)
		}
		if n > 6 {
			continue // the clamp bends the distribution
		}
		width := r.high - r.low
		if lowest > r.low+width/50 || highest < r.high-width/50 {
			t.Errorf("retry %d: jitter uses only %s to %s of %s to %s", n, lowest, highest, r.low, r.high)
		}
		if mean, middle := sum/jobs, (r.low+r.high)/2; mean < middle-width/20 || mean > middle+width/20 {
			t.Errorf("retry %d: mean %s, want about %s", n, mean, middle)
		}
	}
}

// TestBackoffJitterOfOneJob shows that the retries of one job are not all early, or late, alike.
func TestBackoffJitterOfOneJob(t *testing.T) {
	const jobs = 1000
	apart := 0
	for k := range jobs {
		id := schemas.JobID(fmt.Sprintf("job-%d", k))
		first := float64(ledger.RetryDelay(id, 1, schemas.Backoff{})) / float64(60*time.Second)
		second := float64(ledger.RetryDelay(id, 2, schemas.Backoff{})) / float64(120*time.Second)
		if d := first - second; d > 0.04 || d < -0.04 { // a tenth of the range: 81 % of independent pairs
			apart++
		}
	}
	if apart < jobs*7/10 {
		t.Errorf("%d of %d jobs have retries 1 and 2 with jitters apart", apart, jobs)
	}
}

// TestBackoffGolden pins delays of given jobs: a change of the formula would let two versions of the binary
// decide differently on the same failure. Each is inside the range of R-302 for its retry.
func TestBackoffGolden(t *testing.T) {
	for _, c := range []struct {
		id   schemas.JobID
		n    int
		want schemas.Millis
	}{
		{"job-1", 1, 50526},
		{"job-1", 2, 110726},
		{"job-1", 3, 270292},
		{"job-1", 4, 555616},
		{"job-1", 5, 894225},
		{"01938d4a-7c00-7abc-8def-0123456789ab", 1, 65961},
		{"01938d4a-7c00-7abc-8def-0123456789ab", 5, 1044639},
	} {
		if got := ledger.RetryDelay(c.id, c.n, schemas.Backoff{}); schemas.MillisOf(got) != c.want {
			t.Errorf("retry %d of %s after %s, want %s", c.n, c.id, got, c.want.Duration())
		}
	}
}

// TestBackoffOfTypes shows: lists, and base, factor and cap of a type's own.
func TestBackoffOfTypes(t *testing.T) {
	list := schemas.Backoff{ListMS: []schemas.Millis{10_000, 30_000, 60_000}}
	for n, want := range map[int]time.Duration{1: 10 * time.Second, 2: 30 * time.Second, 3: time.Minute, 4: time.Minute, 11: time.Minute} {
		if got := ledger.RetryDelay("j", n, list); got != want {
			t.Errorf("retry %d of a list after %s, want %s", n, got, want)
		}
	}
	if p := (&schemas.TypeSettings{Backoff: list}).Effective(nil); p.MaxAttempts != 4 {
		t.Errorf("a list of 3 delays gives %d attempts, want 4", p.MaxAttempts)
	}
	if p := (&schemas.TypeSettings{Backoff: list, MaxAttempts: 2}).Effective(nil); p.MaxAttempts != 2 {
		t.Errorf("given 2 attempts, got %d", p.MaxAttempts)
	}
	sync := schemas.Backoff{BaseMS: 2000, CapMS: 120_000} // person sync
	for n, want := range map[int]time.Duration{1: 2 * time.Second, 2: 4 * time.Second, 5: 32 * time.Second, 9: 2 * time.Minute} {
		if got := ledger.RetryDelay("j", n, sync); got < want*8/10 || got > min(want*12/10, 2*time.Minute) {
			t.Errorf("retry %d of person sync after %s, want about %s", n, got, want)
		}
	}
	for n := 1; n <= 11; n++ { // equal delays, none below the floor
		if got := ledger.RetryDelay("j", n, schemas.Backoff{BaseMS: 1, Factor: 1}); got != schemas.BackoffFloor {
			t.Errorf("retry %d after %s, want the floor", n, got)
		}
		if got := ledger.RetryDelay("j", n, schemas.Backoff{BaseMS: schemas.MillisOf(24 * time.Hour), Factor: 100}); got != schemas.BackoffCap {
			t.Errorf("retry %d after %s, want the cap", n, got)
		}
	}
}
