package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// reservePercentMax leaves some room for work.
const reservePercentMax = 90

// parseReserve reads how much of a store is kept for jobs that exist: bytes ("1GiB") or a part of the whole ("5%").
func parseReserve(text string) (func(total int64) int64, error) {
	if number, ok := strings.CutSuffix(text, "%"); ok {
		percent, err := strconv.ParseFloat(number, 64)
		if err != nil || !(percent >= 0 && percent <= reservePercentMax) {
			return nil, fmt.Errorf("%q is not 0%% to %d%%", text, reservePercentMax)
		}
		return func(total int64) int64 { return int64(float64(total) * percent / 100) }, nil
	}
	bytes, err := humanize.ParseBytes(text)
	if err != nil || bytes > math.MaxInt64/4 {
		return nil, fmt.Errorf("%q is no number of bytes, such as 1GiB, and no percentage, such as 5%%", text)
	}
	return func(int64) int64 { return int64(bytes) }, nil
}

func checkReserve(text string) error {
	_, err := parseReserve(text)
	return err
}
