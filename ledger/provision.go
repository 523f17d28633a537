package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// apiLevelMin is the JetStream API level that a cell needs: 2 (nats-server 2.12) brought atomic batches
	// and the codes Append knows; 1 brought TTLs by message, which LEASE and JOBS live by.
	apiLevelMin = 2

	// messageRoom is what an event needs beside its args: envelope, tags and error texts.
	messageRoom = 256 << 10

	// historyConfig is how many versions of a setting CONFIG keeps, the most a bucket can.
	historyConfig = 64

	// liveTTL is the longest that anything stays in LIVE; its writers give shorter times by message.
	liveTTL = time.Hour

	// liveKeysMax bounds LIVE: of more keys the oldest go first. It has no bound in bytes, which would be
	// memory set aside on the server.
	liveKeysMax = 1_000_000

	// memoryAnswerMax is how long a stream in one server's memory may take to answer before it counts as gone.
	memoryAnswerMax = 2 * time.Second

	// archiveDuplicates is the duplicate window of ARCHIVE, whose writer sends a page again under its id until it is
	// confirmed; a second copy after that costs space only.
	archiveDuplicates = 2 * time.Minute

	// bucketDuplicates is the duplicate window of buckets, which use no message ids.
	bucketDuplicates = time.Minute
)

// Metadata by which a stream is known to be ours.
const (
	metaMark = "jobledger"      // names what the stream is for: "ledger", "archive", "work", "bucket", "store"
	metaCell = "jobledger.cell" // on LEASE: id of the cell's start
)

func mark(role string) map[string]string { return map[string]string{metaMark: role} }

// ProvisionConfig says what a cell's streams are created with.
type ProvisionConfig struct {
	// Replicas of LEDGER and of all that must outlive a server: 1, 3 or 5. 0 keeps what is there, and
	// creates with 1. A number other than what is there is refused, never changed in passing.
	Replicas int
	// DuplicateWindow is how long LEDGER remembers message ids: up to schemas.DedupWindowMax, at about
	// 150 B of memory a submit. 0 keeps what is there, and creates with schemas.DedupWindow.
	DuplicateWindow time.Duration
	// HotWindow is how long events stay in LEDGER before they leave for ARCHIVE: at least HotWindowMin of the duplicate
	// window. HotNever lets them stay; 0 keeps what is there, and creates with never.
	HotWindow time.Duration
	// Retention is how long the archive keeps history behind the finish of its job, where neither org nor type say
	// otherwise: at least 30 days. RetentionForever keeps it; 0 keeps what is there, which is 90 days where nothing was said.
	Retention time.Duration
	// GroupCommit has appends that meet go together, which pays where the server syncs each write, and has but one replica.
	// GroupCommitKeep keeps what is there, and creates with off.
	GroupCommit GroupCommit
	// Version of the provisioning program; it stands in cell_started.
	Version string

	hotWindowMin time.Duration // in place of HotWindowMin, for tests
}

func (c *ProvisionConfig) validate() error {
	if c.Replicas < 0 || c.Replicas > 5 {
		return badField("replicas", fmt.Errorf("%d replicas: use 1, 3 or 5", c.Replicas))
	}
	if c.DuplicateWindow < 0 || c.DuplicateWindow > schemas.DedupWindowMax {
		return badField("duplicate_window", fmt.Errorf("duplicate window %s is outside 0 to %s", c.DuplicateWindow, schemas.DedupWindowMax))
	}
	return checkRetention(c.Retention)
}

// Cell is one start of a cell.
type Cell struct {
	// ID is random and changes with each start: when LEASE, which lives in memory, had to be created.
	ID string
	// Started: this call began it.
	Started bool
}

// Provision creates the streams, buckets and object stores of a cell that are missing, and returns the
// cell's current start. It is idempotent and safe beside a running system and beside itself.
//
// It changes nothing that exists, but for LEDGER's windows, the level that a hot window needs, and whether batches are taken. What exists and would break a promise
// (another program's stream under our name, a ledger that may drop or rewrite events, a server too old) is
// refused with one sentence naming the setting and what to do.
func Provision(ctx context.Context, l *Ledger, cfg ProvisionConfig) (Cell, error) {
	if err := cfg.validate(); err != nil {
		return Cell{}, err
	}
	if err := l.checkServer(ctx); err != nil {
		return Cell{}, err
	}
	replicas, kept, err := l.ensureLedger(ctx, cfg)
	if err != nil {
		return Cell{}, err
	}
	for _, cfg := range []jetstream.StreamConfig{archiveConfig(replicas), catalogConfig(replicas)} {
		if _, err := l.ensureStream(ctx, cfg, checkArchive); err != nil {
			return Cell{}, err
		}
	}
	if err := l.checkBoundary(ctx); err != nil {
		return Cell{}, err
	}
	if kept {
		// If this process dies before, a removal that was decided by the retention before may still be made.
		if err := l.fenceRemovals(ctx, StreamLedger); err != nil {
			return Cell{}, coded(err)
		}
	}
	for _, bucket := range []string{BucketJobs, BucketCounts, BucketConfig, BucketLive} {
		if err := l.ensureBucket(ctx, bucket, replicas); err != nil {
			return Cell{}, err
		}
	}
	if cfg.GroupCommit == GroupCommitOn {
		for _, bucket := range []string{BucketJobs, BucketCounts} {
			if err := l.groupBucket(ctx, bucket); err != nil {
				return Cell{}, coded(err)
			}
		}
	}
	for _, store := range []string{StoreArgs, StoreResults} {
		if err := l.ensureStore(ctx, store, replicas); err != nil {
			return Cell{}, err
		}
	}
	// A WORK whose server is away is the leader's to recreate.
	err = l.tolerating(ctx, l.EnsureWork)
	if err != nil {
		return Cell{}, err
	}
	return l.startCell(ctx, replicas, cfg.Version)
}

// Check refuses a ledger that could not keep its promises, for processes that use one without provisioning
// it. It changes nothing.
func (l *Ledger) Check(ctx context.Context) error {
	if err := l.checkServer(ctx); err != nil {
		return err
	}
	s, err := l.stream(ctx, StreamLedger)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Errorf(CodeUnavailable, "there is no stream %s here: start a server (jobledger server) on this account first", StreamLedger)
	}
	if err != nil {
		return coded(err)
	}
	return refusal(StreamLedger, &s.CachedInfo().Config, checkLedger)
}

// EnsureBucket creates one of the KV buckets if it is missing, as a view does when somebody deleted it.
func (l *Ledger) EnsureBucket(ctx context.Context, bucket string) error {
	s, err := l.stream(ctx, StreamLedger)
	if err != nil {
		return coded(err)
	}
	return l.ensureBucket(ctx, bucket, s.CachedInfo().Config.Replicas)
}

// RecreateLive deletes LIVE with what it holds and creates it anew: like WORK it lives in one server's memory.
func (l *Ledger) RecreateLive(ctx context.Context) error {
	return l.recreateStream(ctx, bucketStream(BucketLive, 1, time.Now()))
}

func (l *Ledger) checkServer(ctx context.Context) error {
	var info *jetstream.AccountInfo
	err := l.asking(ctx, func(ctx context.Context) (err error) {
		info, err = l.js.AccountInfo(ctx)
		return err
	})
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return Errorf(CodeUnavailable, "JetStream is not enabled for this account: enable it in the server's configuration (%v)", err)
	}
	if err != nil {
		return fmt.Errorf("ask for JetStream: %w", err)
	}
	if err := checkLevel(info.API.Level, l.nc.ConnectedServerVersion()); err != nil {
		return err
	}
	if room := int64(schemas.ArgsMax + messageRoom); l.nc.MaxPayload() < room {
		l.log.Warn("the server's max_payload is too small for args of the documented size, so smaller ones are kept by reference: set max_payload to 8MB",
			zap.Int64("max_payload", l.nc.MaxPayload()), zap.Int64("needed", room))
	}
	return nil
}

func checkLevel(level int, version string) error {
	if level >= apiLevelMin {
		return nil
	}
	return Errorf(CodeUnavailable, "nats-server %s speaks JetStream API level %d, jobledger needs %d: upgrade it to 2.12 or newer, best to 2.15",
		version, level, apiLevelMin)
}

// ensureLedger creates LEDGER or checks the one that is there, and returns its replicas. kept: it has another retention now.
func (l *Ledger) ensureLedger(ctx context.Context, cfg ProvisionConfig) (replicas int, kept bool, err error) {
	want := ledgerConfig(max(cfg.Replicas, 1), cfg.DuplicateWindow)
	s, err := l.ensureStream(ctx, want, checkLedger)
	if err != nil {
		return 0, false, err
	}
	have := s.CachedInfo().Config
	if cfg.Replicas != 0 && cfg.Replicas != have.Replicas {
		return 0, false, Errorf(CodeInvalidArgument, "stream %s has %d replicas, %d are configured: configure %d, or change the stream first (nats stream edit %s --replicas %d)",
			StreamLedger, have.Replicas, cfg.Replicas, have.Replicas, StreamLedger, cfg.Replicas)
	}
	kept = cfg.Retention != 0 && max(cfg.Retention, 0) != retentionOf(have.Metadata)
	if err := l.setWindows(ctx, cfg, have); err != nil {
		return 0, false, err
	}
	return have.Replicas, kept, nil
}

// setWindows changes LEDGER's windows to those that are configured.
func (l *Ledger) setWindows(ctx context.Context, cfg ProvisionConfig, have jetstream.StreamConfig) error {
	hot, changed := hotOf(have.Metadata), false
	if cfg.HotWindow != 0 && max(cfg.HotWindow, 0) != hot {
		hot, changed = max(cfg.HotWindow, 0), true
		have.Metadata = maps.Clone(have.Metadata)
		delete(have.Metadata, metaHot)
		if hot > 0 {
			have.Metadata[metaHot] = hot.String()
		}
	}
	if cfg.Retention != 0 && max(cfg.Retention, 0) != retentionOf(have.Metadata) {
		changed = true
		have.Metadata = maps.Clone(have.Metadata)
		have.Metadata[metaRetention] = max(cfg.Retention, 0).String()
	}
	if cfg.DuplicateWindow != 0 && cfg.DuplicateWindow != have.Duplicates {
		have.Duplicates, changed = cfg.DuplicateWindow, true
	}
	regrouped := cfg.GroupCommit.set(&have)
	if changed {
		if err := cfg.checkHotWindow(hot, have.Duplicates); err != nil {
			return err
		}
	}
	raised := hot > 0 && setLevel(&have, levelArchive)
	if !changed && !raised && !regrouped {
		return nil
	}
	err := l.asking(ctx, func(ctx context.Context) error {
		_, err := l.js.UpdateStream(ctx, have)
		return err
	})
	if err != nil {
		return fmt.Errorf("set the windows of stream %s: %w", StreamLedger, err)
	}
	l.config.Store(nil)
	return nil
}

// ensureStream creates cfg's stream, or refuses the one that is there if it is not ours or check names
// problems.
func (l *Ledger) ensureStream(ctx context.Context, cfg jetstream.StreamConfig, check func(*jetstream.StreamConfig) []string) (s jetstream.Stream, err error) {
	err = l.asking(ctx, func(ctx context.Context) error {
		s, err = l.js.Stream(ctx, cfg.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			s, err = l.js.CreateStream(ctx, cfg)
		}
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another server was faster
			s, err = l.js.Stream(ctx, cfg.Name)
		}
		return err
	})
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == codeSubjectsOverlap {
		return nil, Errorf(CodeUnavailable, "another stream of this account takes subjects of %s (%s): give jobledger an account of its own, or remove that stream: %v",
			cfg.Name, cfg.Subjects, err)
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", cfg.Name, err)
	}
	return s, refusal(cfg.Name, &s.CachedInfo().Config, check)
}

const codeSubjectsOverlap = 10065

// refusal is the error for a stream that is not ours, or that check finds fault with.
func refusal(name string, have *jetstream.StreamConfig, check func(*jetstream.StreamConfig) []string) error {
	if have.Metadata[metaMark] == "" {
		return Errorf(CodeUnavailable, "stream %s was not made by jobledger (its metadata has no %q): give jobledger an account of its own, or remove that stream",
			name, metaMark)
	}
	if err := restoring(have); err != nil {
		return err
	}
	if err := tooOld(name, have.Metadata); err != nil {
		return err
	}
	if found := check(have); len(found) > 0 {
		e := Errorf(CodeUnavailable, "stream %s cannot be used: %s", name, joinProblems(found))
		return e.with("problems", found)
	}
	return nil
}

func (l *Ledger) ensureBucket(ctx context.Context, bucket string, replicas int) error {
	ensure := func(ctx context.Context) error {
		_, err := l.ensureStream(ctx, bucketStream(bucket, replicas, time.Now()), checkNothing)
		return err
	}
	if bucket == BucketLive {
		return l.tolerating(ctx, ensure) // progress is lost with its server; the leader recreates the bucket
	}
	return ensure(ctx)
}

// tolerating ensures a stream that lives in one server's memory, and gives up quietly when that server does
// not answer: only deleting and creating would help, which is not for everybody who starts to do.
func (l *Ledger) tolerating(ctx context.Context, ensure func(context.Context) error) error {
	short, cancel := context.WithTimeout(ctx, memoryAnswerMax)
	defer cancel()
	if err := ensure(short); err != nil && (ctx.Err() != nil || !serverGone(err)) {
		return err
	}
	return nil
}

func (l *Ledger) ensureStore(ctx context.Context, store string, replicas int) error {
	_, err := l.ensureStream(ctx, storeStream(store, replicas), checkStore)
	return err
}

// startCell creates LEASE if it is gone and sees to it that the ledger holds a cell_started event of the
// start that LEASE names. If this process dies between the two, LEASE names a start without an event, and
// the next caller appends it; if LEASE is gone too, it was no start that anybody saw.
func (l *Ledger) startCell(ctx context.Context, replicas int, version string) (Cell, error) {
	want := bucketStream(BucketLease, replicas, time.Now())
	want.Metadata[metaCell] = uuid.NewString()
	s, err := l.ensureStream(ctx, want, checkNothing)
	if err != nil {
		return Cell{}, err
	}
	// Of two servers that create at once one wins; both read the winner's id.
	cell := Cell{ID: s.CachedInfo().Config.Metadata[metaCell]}
	if cell.ID == "" {
		return Cell{}, Errorf(CodeUnavailable, "bucket %s names no start of the cell: delete it (nats kv del %s), it holds nothing but the leader's lease",
			BucketLease, BucketLease)
	}
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	for try := 0; ; try++ {
		var last *Entry
		err := l.reading(ctx, func(ctx context.Context) (err error) {
			last, err = l.leaderGet(ctx, getRequest{LastFor: ControlStart.String()})
			return err
		})
		var expect schemas.Seq
		switch {
		case err == nil:
			expect = last.Seq
			if started, ok := last.Data.(*schemas.CellStarted); ok && started.Cell == cell.ID {
				return cell, nil
			}
		case !errors.Is(err, errNoMessage):
			return Cell{}, err
		}
		err = l.Append(ctx, schemas.NewEvent(ControlStart, &schemas.CellStarted{Cell: cell.ID, Version: version}), expect)
		if err == nil {
			cell.Started = true
			return cell, nil
		}
		if !errors.Is(err, ErrRefused) || !pause(ctx, try) {
			return Cell{}, fmt.Errorf("append cell_started: %w", err)
		}
	}
}

// stream returns a handle whose cached info is fresh.
func (l *Ledger) stream(ctx context.Context, name string) (s jetstream.Stream, err error) {
	err = l.asking(ctx, func(ctx context.Context) error {
		s, err = l.js.Stream(ctx, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	return s, nil
}

// value reads the newest value of a key. The error is jetstream.ErrBucketNotFound or ErrKeyNotFound if it is
// not there.
func (l *Ledger) value(ctx context.Context, bucket, key string) (entry jetstream.KeyValueEntry, err error) {
	err = l.asking(ctx, func(ctx context.Context) error {
		kv, err := l.js.KeyValue(ctx, bucket)
		if err == nil {
			entry, err = kv.Get(ctx, key)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s in bucket %s: %w", key, bucket, err)
	}
	return entry, nil
}

// asking repeats an idempotent request to JetStream until it is answered: during an election requests are
// dropped without a word. It gives up when ctx ends, after SettleTimeout if ctx has no deadline.
func (l *Ledger) asking(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	for try := 0; ; try++ {
		once, cancel := context.WithTimeout(ctx, replyTimeout(try))
		err := ask(once)
		cancel()
		if err == nil || !passing(err) || l.nc.IsClosed() || !pause(ctx, try) {
			return err
		}
	}
}

// passing reports an error that a little later may be gone.
func passing(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.Code == http.StatusServiceUnavailable || api.ErrorCode == codeStoreCreate ||
			api.ErrorCode == codeNoPeers && strings.Contains(api.Description, peerOffline)
	}
	return unreachable(err)
}

// serverGone reports that the one server which holds a memory stream does not answer.
func serverGone(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == codeStreamOffline {
		return true
	}
	return unreachable(err)
}

const (
	codeStreamOffline = 10118
	codeNoPeers       = 10005
	// peerOffline is a reason of codeNoPeers: a node has just started, or starts again.
	peerOffline     = "peer offline"
	codeStoreCreate = 10049 // as while the folder of a stream just deleted is still being removed
)

// ledgerSubjects are what LEDGER takes, no more and no less.
func ledgerSubjects() []string { return []string{"control.>", "jobs.>"} }

// sameSubjects compares without order.
func sameSubjects(have, want []string) bool {
	have = slices.Clone(have)
	slices.Sort(have)
	return slices.Equal(have, want)
}
