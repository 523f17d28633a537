package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Every other pair runs the other way round, each ratio is that of its own pair, and what the machine does not tell
// is left out.
func TestCompare(t *testing.T) {
	var order []int
	var out strings.Builder
	told, err := compare(&out, 6, 100, func(i int) (*flow, error) {
		order = append(order, i)
		drift := float64(1000 - 100*(len(order)-1)/2) // the machine becomes slower
		return &flow{DonePerS: drift * []float64{1, 2}[i], SubmitPerS: drift, Completed: 100, CPU: "a machine"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0}; !slices.Equal(order, want) {
		t.Errorf("ran in the order %v, want %v", order, want)
	}
	text := out.String()
	for _, want := range []string{"on a machine\n", "pair  1   finished a second 1000 -> 1900 (1.900)", ": better\n", "no difference shown\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if len(told) != 2 || told[0].Measure != "finished a second" || told[0].Median < 1.8 {
		t.Errorf("told %+v", told)
	}
	if strings.Contains(text, "CPU a job") {
		t.Errorf("CPU is compared and was not measured:\n%s", text)
	}
}

// A run that fails, or leaves jobs, compares nothing.
func TestCompareNothing(t *testing.T) {
	broken := errors.New("broken")
	for name, measure := range map[string]func(int) (*flow, error){
		"fails":       func(int) (*flow, error) { return nil, broken },
		"leaves jobs": func(int) (*flow, error) { return &flow{DonePerS: 1, Completed: 99}, nil },
	} {
		var out strings.Builder
		if _, err := compare(&out, 1, 100, measure); err == nil {
			t.Errorf("a run that %s: %s", name, fmt.Sprint(&out))
		}
	}
}
