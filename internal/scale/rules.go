package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
)

// rulesJobs is how many jobs each run of `bench flow` has.
func rulesJobs(jobs int) int { return min(max(jobs/50, 2_000), 20_000) }

// rules runs `bench flow` with every rule in force and without, in turn.
func rules(ctx context.Context, o *options, results *report) error {
	cmd := exec.CommandContext(ctx, "go", "run", "./internal/pairs", "-rules", "-json", "-n", strconv.Itoa(o.pairs), "-jobs", strconv.Itoa(rulesJobs(o.jobs)))
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, &talk)
	}
	var compared []struct {
		Name     string  `json:"measure"`
		Median   float64 `json:"median"`
		Low      float64 `json:"low"`
		High     float64 `json:"high"`
		Coverage float64 `json:"coverage"`
	}
	if err := json.Unmarshal(out.Bytes(), &compared); err != nil {
		return fmt.Errorf("what internal/pairs prints: %w: %s", err, &out)
	}
	for i, m := range compared {
		what := fmt.Sprintf("%s, with all rules / without (%.0f %%: %.2f to %.2f)", m.Name, 100*m.Coverage, m.Low, m.High)
		if i == 0 {
			results.aim(partRules, what, m.Median, "", ">= 0.9", m.Median >= 0.9)
			continue
		}
		results.add(partRules, what, m.Median, "")
	}
	return nil
}
