package main

import "testing"

func TestParseReserve(t *testing.T) {
	const total = 1000 << 30
	for text, want := range map[string]int64{"0": 0, "1GiB": 1 << 30, "250MB": 250_000_000, "5%": 50 << 30, "0.5%": 5 << 30, "4096": 4096} {
		reserve, err := parseReserve(text)
		if err != nil || reserve(total) != want {
			t.Errorf("%s of %d: %v, want %d", text, total, err, want)
		}
	}
	for _, text := range []string{"", "much", "-1", "-1%", "91%", "%", "NaN%", "1e30"} {
		if _, err := parseReserve(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
