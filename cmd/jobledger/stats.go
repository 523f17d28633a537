package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addOrgUsage(org *fisk.CmdClause) {
	var name, from, to string
	cmd := p.command(org, "usage", "Show what an org used: jobs, attempts, run time, bytes", func(ctx context.Context) error {
		if err := schemas.CheckToken("org", name); err != nil {
			return usagef("%w", err)
		}
		r := gateway.UsageRequest{}
		for _, bound := range []struct {
			flag, text string
			to         *time.Time
		}{{"from", from, &r.From}, {"to", to, &r.To}} {
			if bound.text == "" {
				continue
			}
			t, err := parseTime(bound.text, p.Now(), p.flags.zone, -1)
			if err != nil {
				return usagef("--%s: %w", bound.flag, err)
			}
			*bound.to = t
		}
		return p.withClient(ctx, "org usage", func(ctx context.Context, c *gateway.Client) error {
			own := *c
			own.Org = schemas.OrgID(name)
			u, err := own.Usage(ctx, r)
			if err != nil {
				return err
			}
			if p.flags.JSON {
				return p.document(u)
			}
			notes := ""
			if u.Partial {
				notes = "statistics began lately, or are not kept of all: some is not counted"
			}
			return p.printFacts([]fact{
				{"Org", string(u.Org)}, {"From", p.recordTime(u.From)}, {"To", p.recordTime(u.To)},
				{"Submitted", fmt.Sprint(u.Submitted)}, {"Completed", fmt.Sprint(u.Completed)}, {"Attempts", fmt.Sprint(u.Attempts)},
				{"Run time", (time.Duration(u.RunSeconds * float64(time.Second))).Round(time.Millisecond).String()},
				{"Bytes", fmt.Sprintf("%d of args, %d of results", u.BytesIn, u.BytesOut)}, {"Partial", notes},
			})
		})
	})
	cmd.HelpLong(`Counts whole days, of UTC, both included: this month if nothing is said. Usage is
kept for 31 days.

Example:

	jobledger org usage acme --from 7d -j`)
	cmd.Arg("org", "The org").Required().StringVar(&name)
	cmd.Flag("from", "The first day, as a time or so long ago").PlaceHolder("TIME|D").StringVar(&from)
	cmd.Flag("to", "The last day").PlaceHolder("TIME|D").StringVar(&to)
}

// typeStatsFacts tell how a type did lately in the org.
func typeStatsFacts(s *gateway.TypeStats) []fact {
	if s == nil {
		return nil
	}
	failures := ""
	for _, w := range []struct {
		name string
		rate gateway.FailureRate
	}{{"1m", s.Failures.Minute}, {"1h", s.Failures.Hour}, {"24h", s.Failures.Day}, {"30d", s.Failures.Month}} {
		if w.rate.Rate != nil {
			failures += fmt.Sprintf(", %.1f %% of %d in %s", 100**w.rate.Rate, w.rate.Ended, w.name)
		}
	}
	return []fact{
		{"Ran", quantilesFact(gateway.Durations{P50MS: s.P50MS, P95MS: s.P95MS, P99MS: s.P99MS, Samples: s.Samples})},
		{"Waited", quantilesFact(s.Wait)}, {"In all", quantilesFact(s.Total)}, {"Failures", strings.TrimPrefix(failures, ", ")},
	}
}

// quantilesFact is empty where nothing ended lately.
func quantilesFact(d gateway.Durations) string {
	if d.P50MS == nil || d.P95MS == nil || d.P99MS == nil {
		return ""
	}
	return fmt.Sprintf("p50 %s, p95 %s, p99 %s (%d in the last hour)", msText(*d.P50MS), msText(*d.P95MS), msText(*d.P99MS), d.Samples)
}

// msText has two digits: more are not known.
func msText(ms float64) string {
	d := time.Duration(ms * float64(time.Millisecond))
	unit := time.Duration(1)
	for d >= 100*unit {
		unit *= 10
	}
	return d.Round(unit).String()
}

// depthFact shows how many jobs of the org waited, minute by minute.
func depthFact(depth []gateway.DepthPoint) string {
	most, levels := int64(0), []rune("▁▂▃▄▅▆▇█")
	for _, m := range depth {
		most = max(most, m.WaitingMax)
	}
	if most == 0 {
		return ""
	}
	var line strings.Builder
	for _, m := range depth {
		line.WriteRune(levels[m.WaitingMax*int64(len(levels)-1)/most])
	}
	return fmt.Sprintf("%s  the last hour of this org, at most %d waiting", line.String(), most)
}
