package main

import (
	"math"
	"testing"
)

// The ranks are those of the tables for the sign test: with 10 values the 2nd and the 9th, which hold the median with
// 97.9 %; with 20 the 6th and the 15th; fewer than 6 values cannot say anything at 95 %.
func TestMedianInterval(t *testing.T) {
	for _, c := range []struct {
		n         int
		low, high float64
		coverage  float64
	}{
		{1, 1, 1, 0}, {2, 1, 2, 0.5}, {5, 1, 5, 0.9375}, {6, 1, 6, 0.96875}, {8, 1, 8, 0.9921875}, {9, 2, 8, 0.9609375},
		{10, 2, 9, 0.978515625}, {15, 4, 12, 0.96484375}, {20, 6, 15, 0.95861},
	} {
		values := make([]float64, c.n)
		for i := range values {
			values[i] = float64(c.n - i) // in descending order
		}
		got := medianInterval(values)
		if got.low != c.low || got.high != c.high || math.Abs(got.coverage-c.coverage) > 1e-4 || got.median != float64(c.n+1)/2 {
			t.Errorf("of %d values %+v, want %g to %g with %g", c.n, got, c.low, c.high, c.coverage)
		}
	}
}

// A verdict is given only where the interval does not hold 1, and knows which way is the good one.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		interval
		more string
		less string
	}{
		{interval{1.1, 1.01, 1.2, 0.97}, "better", "worse"},
		{interval{0.9, 0.8, 0.99, 0.97}, "worse", "better"},
		{interval{1.0, 0.9, 1.1, 0.97}, "no difference shown", "no difference shown"},
		{interval{1.1, 1.05, 1.2, 0.5}, "too few pairs to tell", "too few pairs to tell"},
	} {
		if more, less := c.verdict(true), c.verdict(false); more != c.more || less != c.less {
			t.Errorf("%+v: %q and %q, want %q and %q", c.interval, more, less, c.more, c.less)
		}
	}
}
