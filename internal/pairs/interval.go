package main

import (
	"math"
	"slices"
)

// confidence is the least chance with which the interval is to hold the true median.
const confidence = 0.95

// interval is a median with what is known of the true one.
type interval struct {
	median, low, high float64
	// coverage is the chance that low to high holds the true median; below confidence where there are too few values.
	coverage float64
}

// medianInterval sorts values, of which there is at least one.
func medianInterval(values []float64) interval {
	slices.Sort(values)
	n := len(values)
	k, outside := 1, 2*math.Pow(0.5, float64(n)) // from the least to the greatest
	for term, below := float64(n)*math.Pow(0.5, float64(n)), outside/2; k < n/2; k++ {
		// below is P(Binomial(n, 1/2) < k), term is P(... = k)
		if below += term; 2*below > 1-confidence {
			break
		}
		outside = 2 * below
		term *= float64(n-k) / float64(k+1)
	}
	return interval{
		median: (values[(n-1)/2] + values[n/2]) / 2,
		low:    values[k-1], high: values[n-k],
		coverage: max(1-outside, 0),
	}
}

// verdict says what the interval of a ratio new/old tells; of some measures more is better.
func (i interval) verdict(moreIsBetter bool) string {
	better, worse := i.low > 1, i.high < 1
	if !moreIsBetter {
		better, worse = worse, better
	}
	switch {
	case i.coverage < confidence:
		return "too few pairs to tell"
	case better:
		return "better"
	case worse:
		return "worse"
	}
	return "no difference shown"
}
