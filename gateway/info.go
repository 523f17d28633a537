package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// lookMax bounds the look at a cell.
const lookMax = 15 * time.Second

// CellInfo is what runs, as `server info --json` prints it: what can be seen of the cell from its own account. null: nobody tells.
type CellInfo struct {
	Version     string               `json:"version"` // of the server that started the cell
	NATSVersion string               `json:"nats_version"`
	UptimeS     *float64             `json:"uptime_s"`
	Cell        string               `json:"cell"`
	Mode        *string              `json:"mode"`
	Durability  *string              `json:"durability"`
	Leader      *string              `json:"dispatcher_leader"` // null: nobody leads at the moment
	Replicas    int                  `json:"replicas"`
	Ledger      LedgerRange          `json:"ledger"`
	Archive     *ledger.ArchiveState `json:"archive"`
	Retention   *ledger.RetainState  `json:"retention"` // what the leader's last look for old history found
	Archiver    *ArchiverInfo        `json:"archiver"`
	Storage     *ledger.Space        `json:"storage"`
	Projections []Projection         `json:"projections"`
	Verified    *ledger.LastVerified `json:"verified"` // the latest check of the whole ledger by `log verify`; null: none was noted
}

// LedgerRange is where the hot ledger begins and ends.
type LedgerRange struct {
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

// ArchiverInfo is how far the archive is behind the hot window, and why.
type ArchiverInfo struct {
	HotWindowS float64 `json:"hot_window_s"` // 0: events stay
	// BehindS is how long ago the first event of the hot ledger should have left at the latest; 0: it is not due.
	BehindS float64 `json:"behind_s"`
	ledger.ArchiverStatus
}

// Projection is how far a view is.
type Projection struct {
	Name      string      `json:"name"`
	Seq       schemas.Seq `json:"seq"`
	LagEvents uint64      `json:"lag_events"`
	LagMS     *int64      `json:"lag_ms"`
}

// info tells of the cell, and how long this server has been taking requests.
func (g *Gateway) info(ctx context.Context, _ *request) ([]byte, error) {
	info, err := LookAtCell(ctx, g.l)
	if err != nil {
		return nil, err
	}
	g.mu.RLock()
	since := g.since
	g.mu.RUnlock()
	up := time.Since(since).Truncate(time.Millisecond).Seconds()
	info.UptimeS = &up
	return json.Marshal(info)
}

// Info returns what runs: CellInfo, with the uptime of the server that answered.
func (c *Client) Info(ctx context.Context) (*CellInfo, error) {
	return ask[CellInfo](ctx, c, "info", nil)
}

// LookAtCell gathers what the account of a cell holds.
func LookAtCell(ctx context.Context, l *ledger.Ledger) (*CellInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, lookMax)
	defer cancel()
	s, err := l.JetStream().Stream(ctx, ledger.StreamLedger)
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", ledger.StreamLedger, err)
	}
	state := s.CachedInfo().State
	info := &CellInfo{NATSVersion: l.Conn().ConnectedServerVersion(), Replicas: s.CachedInfo().Config.Replicas, Projections: []Projection{},
		Ledger: LedgerRange{FirstSeq: state.FirstSeq, LastSeq: state.LastSeq, Messages: state.Msgs, Bytes: state.Bytes}}
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
	if info.Verified, err = l.LastVerified(ctx); err != nil {
		return nil, err
	}
	info.Archiver = lookAtArchiver(ctx, l, firstHot(ctx, l, &state, info.Archive))
	if space, err := l.Space(ctx); err == nil {
		info.Storage = &space
	}
	var counts ledger.CountsDocument
	if ok, err := valueOf(ctx, l, ledger.BucketCounts, ledger.KeyCountsAll, &counts); err != nil {
		return nil, err
	} else if ok {
		for _, v := range []Projection{{Name: "jobs", Seq: counts.Jobs.Seq}, {Name: "counts", Seq: counts.Seq}, {Name: "config", Seq: counts.Config.Seq}} {
			v.LagEvents = state.LastSeq - min(state.LastSeq, uint64(v.Seq))
			info.Projections = append(info.Projections, v)
		}
	}
	return info, lookAtIndexes(ctx, l, state.LastSeq, info)
}

// lookAtIndexes adds how far the servers' own query indexes are: one is called index, several index@SERVER.
func lookAtIndexes(ctx context.Context, l *ledger.Ledger, last uint64, info *CellInfo) error {
	indexes, err := l.Indexes(ctx, ledger.IndexAsk{})
	for _, x := range indexes {
		v := Projection{Name: "index", Seq: x.Seq, LagEvents: last - min(last, uint64(x.Seq))}
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

// firstHot is when the first event was stored that is in LEDGER alone; zero: there is none, or nobody knows. What stands
// before it is in the archive, too, and is removed from LEDGER some time.
func firstHot(ctx context.Context, l *ledger.Ledger, state *jetstream.StreamState, archived *ledger.ArchiveState) time.Time {
	if archived == nil || uint64(archived.Through.Seq) < state.FirstSeq {
		return state.FirstTime
	}
	next, err := l.EventsFrom(ctx, archived.Through.Seq+1, 1)
	if err != nil || len(next) == 0 {
		return time.Time{}
	}
	return next[0].Time
}

// lookAtArchiver asks the leader; nil if none answers.
func lookAtArchiver(ctx context.Context, l *ledger.Ledger, first time.Time) *ArchiverInfo {
	status, err := l.ArchiverStatus(ctx)
	if err != nil {
		return nil
	}
	window, err := l.HotWindow(ctx)
	if err != nil {
		return nil
	}
	a := &ArchiverInfo{HotWindowS: window.Seconds(), ArchiverStatus: *status}
	if age := time.Since(first); window > 0 && !first.IsZero() {
		a.BehindS = max(0, age-ledger.HotLatest(window)).Truncate(time.Second).Seconds()
	}
	return a
}
