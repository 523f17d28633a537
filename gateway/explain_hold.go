package gateway

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// holdOf puts a rule that the leader named into words, with who set it and the command line that would lift it.
func (g *Gateway) holdOf(ctx context.Context, j *ledger.Job, b *ledger.Blocker) ExplainHold {
	h := ExplainHold{Hold: string(b.Kind), Scope: b.Scope.String(), Rate: b.Rate}
	if !b.Until.IsZero() {
		until := b.Until.UTC()
		h.Until = &until
	}
	if b.Kind == ledger.BlockLimit {
		h.Value, h.Limit = &b.Used, &b.Limit
	}
	if b.Setting != "" {
		h.Setting = &b.Setting
		g.author(ctx, b.Setting, &h)
	}
	if b.Field != "" {
		h.Field = &b.Field
	}
	message, fix := inWords(j, b, h.Scope)
	if h.Until != nil && !strings.Contains(message, h.Until.Format(time.RFC3339)) {
		message += ", until " + h.Until.Format(time.RFC3339)
	}
	h.Message = message
	if fix != "" {
		h.Fix = &fix
	}
	return h
}

// author adds who set what stands under a key of CONFIG.
func (g *Gateway) author(ctx context.Context, key string, h *ExplainHold) {
	kind, name, ok := strings.Cut(key, ".")
	if !ok {
		return
	}
	e, err := g.l.Setting(ctx, kind, name)
	if err != nil {
		g.log.Debug("who made a setting cannot be read", zap.String("setting", key), zap.Error(err))
		return
	}
	h.SettingAuthor = authorOf(e)
}

// inWords says what a rule does to a job, and how a person would lift it.
func inWords(j *ledger.Job, b *ledger.Blocker, scope string) (message, fix string) {
	pair := fmt.Sprintf("type %s in queue %s", j.Spec.Type, j.Spec.Queue)
	switch b.Kind {
	case ledger.BlockLimit:
		return fmt.Sprintf("%d jobs of %s run or are about to, and its limit is %d", b.Used, scope, b.Limit), editCommand(b, "N")
	case ledger.BlockRate:
		rate := ""
		if b.Rate != nil {
			rate = " of " + b.Rate.String()
		}
		return fmt.Sprintf("the start rate%s of %s is used up", rate, scope), editCommand(b, "N/D")
	case ledger.BlockHold:
		return scope + " is paused", resumeCommand(b.Scope)
	case ledger.BlockSuspended:
		return fmt.Sprintf("org %s is suspended", j.Org), fmt.Sprintf("jobledger org resume %s --reason TEXT", j.Org)
	case ledger.BlockDeleted:
		return fmt.Sprintf("org %s is deleted: the job is about to be dead-lettered", j.Org), ""
	case ledger.BlockRight:
		return "whether its principal may still run it cannot be found out at the moment", ""
	case ledger.BlockOwner:
		return fmt.Sprintf("queue %s belongs to another org", j.Spec.Queue), fmt.Sprintf("jobledger queue edit %s --owner %s --reason TEXT", j.Spec.Queue, j.Org)
	case ledger.BlockBreaker:
		return fmt.Sprintf("type %s fails too often for org %s: its breaker is %s", j.Spec.Type, j.Org, strings.ReplaceAll(b.State, "_", "-")),
			fmt.Sprintf("jobledger type edit %s --close-breaker --org %s --reason TEXT", j.Spec.Type, j.Org)
	case ledger.BlockUnsettled:
		return scope + " may run one job at a time, and workers have not yet told a new leader what still runs", ""
	case ledger.BlockNoWorker:
		return "nobody serves " + pair, fmt.Sprintf("jobledger worker run %s --queue %s --exec CMD", j.Spec.Type, j.Spec.Queue)
	case ledger.BlockNoRoom:
		return "all slots of the workers that serve " + pair + " are taken", fmt.Sprintf("jobledger worker run %s --queue %s --exec CMD", j.Spec.Type, j.Spec.Queue)
	case ledger.BlockDelay:
		return "its time has not come", ""
	case ledger.BlockParents:
		return "jobs it depends on have not finished", ""
	}
	return fmt.Sprintf("%s of %s", b.Kind, scope), ""
}

// fieldFlags are the flags of `edit` that set a field of the settings.
var fieldFlags = map[string]string{
	"max_running": "--max-running", "max_running_per_org": "--max-running-per-org", "start_rate": "--rate", "start_rate_per_org": "--rate",
}

// editCommand changes the setting that a rule is made of.
func editCommand(b *ledger.Blocker, value string) string {
	kind, name, ok := strings.Cut(b.Setting, ".")
	flag := fieldFlags[b.Field]
	if !ok || flag == "" {
		return ""
	}
	return fmt.Sprintf("jobledger %s edit %s %s %s --reason TEXT", kind, name, flag, value)
}

// resumeCommand lifts a hold.
func resumeCommand(s schemas.HoldScope) string {
	cmd := "jobledger queue resume"
	if s == (schemas.HoldScope{}) {
		return cmd + " --all --reason TEXT"
	}
	if s.Queue != "" {
		cmd += " " + string(s.Queue)
	}
	for _, f := range [][2]string{{"--type", string(s.Type)}, {"--org", string(s.Org)}, {"--resource", s.Resource}, {"--batch", s.Batch}} {
		if f[1] != "" {
			cmd += " " + f[0] + " " + f[1]
		}
	}
	return cmd + " --reason TEXT"
}
