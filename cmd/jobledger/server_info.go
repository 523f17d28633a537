package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/choria-io/fisk"
	"github.com/dustin/go-humanize"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// serverInfo is what `server info --json` prints: what can be seen of the cell from its own account. null: nobody tells.
type serverInfo struct {
	Version     string               `json:"version"` // of the server that started the cell
	NATSVersion string               `json:"nats_version"`
	UptimeS     *float64             `json:"uptime_s"`
	Cell        string               `json:"cell"`
	Mode        *string              `json:"mode"`
	Durability  *string              `json:"durability"`
	Leader      *string              `json:"dispatcher_leader"` // null: nobody leads at the moment
	Replicas    int                  `json:"replicas"`
	Ledger      ledgerRange          `json:"ledger"`
	Archive     *ledger.ArchiveState `json:"archive"`
	Retention   *ledger.RetainState  `json:"retention"` // what the leader's last look for old history found
	Archiver    *archiverInfo        `json:"archiver"`
	Storage     *ledger.Space        `json:"storage"`
	Projections []projection         `json:"projections"`
}

type ledgerRange struct {
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

// archiverInfo is how far the archive is behind the hot window, and why.
type archiverInfo struct {
	HotWindowS float64 `json:"hot_window_s"` // 0: events stay
	// BehindS is how long ago the first event of the hot ledger should have left at the latest; 0: it is not due.
	BehindS float64 `json:"behind_s"`
	ledger.ArchiverStatus
}

type projection struct {
	Name      string      `json:"name"`
	Seq       schemas.Seq `json:"seq"`
	LagEvents uint64      `json:"lag_events"`
	LagMS     *int64      `json:"lag_ms"`
}

func (p *program) addServerInfo(server *fisk.CmdClause) {
	info := p.command(server, "info", "Show what runs: leader, ledger, archive, storage, views", p.showServer)
	info.HelpLong(`Asks in the ledger's own account. What nobody tells is null.

Example:

	jobledger server info --json | jq .storage`)
}

func (p *program) showServer(ctx context.Context) error {
	l, err := p.openLedger(ctx, "server info", p.logger(zap.WarnLevel))
	if err != nil {
		return err
	}
	defer l.Conn().Close()
	info, err := lookAtCell(ctx, l)
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(info)
	}
	g := &grid{Title: "Cell " + info.Cell, Columns: []string{"what", "value"}}
	g.add("version", info.Version)
	g.add("nats", fmt.Sprintf("%s, replicas %d", info.NATSVersion, info.Replicas))
	if info.Leader != nil {
		g.add("leader", *info.Leader)
	} else {
		g.add("leader", "none at the moment")
	}
	g.add("ledger", fmt.Sprintf("%s to %s, %s events, %s", thousands(info.Ledger.FirstSeq), thousands(info.Ledger.LastSeq), thousands(info.Ledger.Messages),
		humanize.IBytes(info.Ledger.Bytes)))
	if a := info.Archive; a != nil && a.Segments > 0 {
		g.add("archive", fmt.Sprintf("through %d, %s events in %d segments", a.Through.Seq, thousands(uint64(a.Events)), a.Segments))
	}
	if r := info.Retention; r != nil && (r.Held > 0 || r.Leaving > 0) {
		g.add("retention", fmt.Sprintf("%d segments wait for a legal hold, %d are removed and still to be deleted", r.Held, r.Leaving))
	}
	if a := info.Archiver; a != nil && (a.HotWindowS > 0 || a.Error != "") {
		g.add("archiver", archiverText(a, p.Now()))
	}
	g.add("storage", storageText(info.Storage))
	for _, v := range info.Projections {
		g.add("view "+v.Name, fmt.Sprintf("at %s, %s events behind", thousands(uint64(v.Seq)), thousands(v.LagEvents)))
	}
	return p.list(g)
}

func archiverText(a *archiverInfo, now time.Time) string {
	window := time.Duration(a.HotWindowS * float64(time.Second))
	text := fmt.Sprintf("hot window %s, in time", window)
	if a.BehindS > 0 {
		text = fmt.Sprintf("hot window %s, %s behind", window, time.Duration(a.BehindS)*time.Second)
	}
	if h := a.Held; h != nil {
		text += fmt.Sprintf("; held by %s at %d: %s", h.Subject, h.Seq, h.Why)
		if late := h.Late(window, now); late > window {
			text += fmt.Sprintf(", for %s longer than it should", late.Round(time.Second))
		}
	}
	if a.Error != "" {
		text += fmt.Sprintf("; last error at %s: %s", a.ErrorAt.Format(time.RFC3339), a.Error)
	}
	return text
}

// lookAtArchiver asks the leader; nil if none answers.
func lookAtArchiver(ctx context.Context, l *ledger.Ledger, first time.Time) *archiverInfo {
	status, err := l.ArchiverStatus(ctx)
	if err != nil {
		return nil
	}
	window, err := l.HotWindow(ctx)
	if err != nil {
		return nil
	}
	a := &archiverInfo{HotWindowS: window.Seconds(), ArchiverStatus: *status}
	if age := time.Since(first); window > 0 && !first.IsZero() {
		a.BehindS = max(0, age-ledger.HotLatest(window)).Truncate(time.Second).Seconds()
	}
	return a
}

func storageText(s *ledger.Space) string {
	switch {
	case s == nil:
		return "no server answers"
	case s.Total == 0:
		return "no limit is known"
	}
	return fmt.Sprintf("%s: %s of %s free, %s kept for jobs that exist", s.State, humanize.IBytes(uint64(max(s.Free, 0))), humanize.IBytes(uint64(s.Total)),
		humanize.IBytes(uint64(s.Reserve)))
}

// lookAtCell gathers what the account holds.
func lookAtCell(ctx context.Context, l *ledger.Ledger) (*serverInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	s, err := l.JetStream().Stream(ctx, ledger.StreamLedger)
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", ledger.StreamLedger, err)
	}
	state := s.CachedInfo().State
	info := &serverInfo{NATSVersion: l.Conn().ConnectedServerVersion(), Replicas: s.CachedInfo().Config.Replicas, Projections: []projection{},
		Ledger: ledgerRange{FirstSeq: state.FirstSeq, LastSeq: state.LastSeq, Messages: state.Msgs, Bytes: state.Bytes}}
	var start schemas.CellStarted
	if err := lastOn(ctx, s, ledger.ControlStart.String(), &start); err != nil {
		return nil, err
	}
	info.Cell, info.Version = start.Cell, start.Version
	if info.Leader, err = leaderNow(ctx, l, s); err != nil {
		return nil, err
	}
	if a, err := l.Archived(ctx); err == nil {
		info.Archive = &a
	}
	info.Retention = l.RetainState(ctx)
	info.Archiver = lookAtArchiver(ctx, l, state.FirstTime)
	if space, err := l.Space(ctx); err == nil {
		info.Storage = &space
	}
	var counts ledger.CountsDocument
	if ok, err := valueOf(ctx, l, ledger.BucketCounts, ledger.KeyCountsAll, &counts); err != nil {
		return nil, err
	} else if ok {
		for _, v := range []projection{{Name: "jobs", Seq: counts.Jobs.Seq}, {Name: "counts", Seq: counts.Seq}, {Name: "config", Seq: counts.Config.Seq}} {
			v.LagEvents = state.LastSeq - min(state.LastSeq, uint64(v.Seq))
			info.Projections = append(info.Projections, v)
		}
	}
	return info, lookAtIndexes(ctx, l, state.LastSeq, info)
}

// lookAtIndexes adds how far the servers' own query indexes are: one is called index, several index@SERVER.
func lookAtIndexes(ctx context.Context, l *ledger.Ledger, last uint64, info *serverInfo) error {
	indexes, err := l.Indexes(ctx, ledger.IndexAsk{})
	for _, x := range indexes {
		v := projection{Name: "index", Seq: x.Seq, LagEvents: last - min(last, uint64(x.Seq))}
		if len(indexes) > 1 {
			v.Name += "@" + x.Server
		}
		info.Projections = append(info.Projections, v)
	}
	return err
}

// lastOn decodes the last event on a subject of the ledger; into stays as it is if there is none.
func lastOn(ctx context.Context, s jetstream.Stream, subject string, into any) error {
	m, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", subject, err)
	}
	return json.Unmarshal(m.Data, into)
}

// leaderNow is the server that holds the lease; nil if none does.
func leaderNow(ctx context.Context, l *ledger.Ledger, s jetstream.Stream) (*string, error) {
	var held json.RawMessage
	if ok, err := valueOf(ctx, l, ledger.BucketLease, ledger.LeaseKey, &held); !ok || err != nil {
		return nil, err
	}
	var elected schemas.LeaderElected
	if err := lastOn(ctx, s, ledger.ControlLeader.String(), &elected); err != nil || elected.Server == "" {
		return nil, err
	}
	return &elected.Server, nil
}

// valueOf decodes the value of a key; false if there is none.
func valueOf(ctx context.Context, l *ledger.Ledger, bucket, key string, into any) (bool, error) {
	kv, err := l.JetStream().KeyValue(ctx, bucket)
	if err != nil {
		return false, ignoreMissing(err)
	}
	e, err := kv.Get(ctx, key)
	if err != nil {
		return false, ignoreMissing(err)
	}
	if raw, ok := into.(*json.RawMessage); ok {
		*raw = e.Value()
		return true, nil
	}
	return true, json.Unmarshal(e.Value(), into)
}

func ignoreMissing(err error) error {
	if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	return err
}
