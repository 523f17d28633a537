package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
)

const (
	// uploadMax is how long one chunk may take, and the end of a snapshot: the server opens the stream then.
	uploadMax = 2 * time.Minute
	// replicaWait is how long the other replicas of a stream may take to have all of it.
	replicaWait = 10 * time.Minute
	// lateMax is how long a new leader may take to know all that was put in.
	lateMax = 30 * time.Second
	// askAgain is the time between two looks at something that tells nobody when it changes.
	askAgain = 100 * time.Millisecond
)

// RestoreConfig says what to put where.
type RestoreConfig struct {
	// Conn leads to the store, in the account of the ledger to be. Required.
	Conn *nats.Conn
	// Logger is required.
	Logger *zap.Logger
	// Dir is the folder of a complete backup. Required.
	Dir string
	// Replicas of the streams: 1, 3 or 5. Required.
	Replicas int
	// SHA256, if set, is what the manifest must have: as log backup printed it.
	SHA256 string
	// Progress, if set, hears how far each stream is: first Checking, then not.
	Progress func(RestoreProgress)
}

// RestoreProgress tells how far a stream is.
type RestoreProgress struct {
	Checking    bool
	Stream      string
	Done, Bytes int64
}

func (c *RestoreConfig) validate() error {
	switch {
	case c.Conn == nil:
		return errors.New("backup: RestoreConfig.Conn is required")
	case c.Logger == nil:
		return errors.New("backup: RestoreConfig.Logger is required")
	case c.Dir == "":
		return errors.New("backup: RestoreConfig.Dir is required")
	case c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5:
		return fmt.Errorf("backup: %d replicas: use 1, 3 or 5", c.Replicas)
	}
	return nil
}

// restore is one run of a restore.
type restore struct {
	RestoreConfig
	*manifest
	js    jetstream.JetStream
	there map[string]*jetstream.StreamInfo // ours, as they were found
	kept  map[string]bool
}

// Restore puts a backup into an empty store. Nothing is created before every part was read and has its digest. Errors:
// ErrDamaged, wrapped, names what is wrong with the backup; an *ledger.Error with code in_use names what is in the
// store. After any other, and after a kill, the same call goes on where it stopped.
func Restore(ctx context.Context, cfg RestoreConfig) (*Summary, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m, sum, err := loadManifest(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if cfg.SHA256 != "" && !strings.EqualFold(cfg.SHA256, sum) {
		return nil, badBackup("its manifest has SHA-256 %s, not %.64s", sum, cfg.SHA256)
	}
	js, err := jetstream.New(cfg.Conn)
	if err != nil {
		return nil, err
	}
	r := &restore{RestoreConfig: cfg, manifest: m, js: js, there: make(map[string]*jetstream.StreamInfo), kept: make(map[string]bool)}
	if err := r.look(ctx); err != nil {
		return nil, err
	}
	if err := r.check(ctx); err != nil {
		return nil, err
	}
	done, err := r.room()
	if err == nil && !done {
		err = r.fill(ctx)
	}
	if err != nil {
		return nil, err
	}
	return m.summary(sum, r.kept), nil
}

// look asks what of ours is in the store.
func (r *restore) look(ctx context.Context) error {
	for _, name := range append(ledger.TruthStreams(), ledger.CacheStreams()...) {
		info, err := r.info(ctx, name)
		if err != nil {
			return err
		}
		if info != nil {
			r.there[name] = info
		}
	}
	return nil
}

// info returns nil for a stream that is not there.
func (r *restore) info(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, requestMax)
	defer cancel()
	s, err := r.js.Stream(ctx, name)
	if notFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", name, err)
	}
	return s.CachedInfo(), nil
}

// room refuses a store that is not empty. What an interrupted run of this very restore has left is no obstacle, and
// if that was complete, done is true: only its report was missing.
func (r *restore) room() (done bool, err error) {
	main := r.there[ledger.StreamLedger]
	if main != nil && main.Config.Metadata[ledger.MetaRestored] == r.ID && r.whole(main, r.stream(ledger.StreamLedger)) {
		for name := range r.there {
			r.kept[name] = true
		}
		return true, nil
	}
	ending := main != nil && main.Config.Metadata[ledger.MetaRestoring] == r.ID // set free last, so the others may be
	var inWay []string
	for _, name := range slices.Sorted(maps.Keys(r.there)) {
		c := r.there[name].Config
		ours := c.Metadata[ledger.MetaRestoring] == r.ID || ending && c.Metadata[ledger.MetaRestored] == r.ID
		if ours {
			continue
		}
		what := fmt.Sprintf("%s (%d messages)", name, r.there[name].State.Msgs)
		if id := c.Metadata[ledger.MetaRestoring]; id != "" {
			what += " of an unfinished restore of backup " + id
		}
		inWay = append(inWay, what)
	}
	if len(inWay) > 0 {
		return false, ledger.Errorf(ledger.CodeInUse, "the store is not empty: it holds %s; a backup is put into an empty store only, so take another data folder or account, or remove what is there",
			strings.Join(inWay, ", "))
	}
	return false, nil
}

// whole reports that a stream holds what the backup does of it.
func (r *restore) whole(info *jetstream.StreamInfo, s *streamRecord) bool {
	if s.Format == formFiles { // such a snapshot may hold more than its cut
		return info.State.LastSeq >= s.LastSeq && info.State.Msgs >= s.Messages
	}
	return info.State.LastSeq == s.LastSeq && info.State.Msgs == s.Messages && (s.Messages == 0 || info.State.FirstSeq == s.FirstSeq)
}

// check reads every part, holds it to its digest, and decodes each stream to its end.
func (r *restore) check(ctx context.Context) error {
	for _, s := range r.Streams {
		c, err := decode(s.Name, r.reader(ctx, s, true), nil)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrDamaged):
			return err
		case err != nil:
			return badBackup("stream %s: %w", s.Name, err)
		case c.format != s.Format || c.format == formMessages && (c.messages != s.Messages || c.last > s.LastSeq):
			return badBackup("stream %s holds %d messages up to %d, its manifest says %d up to %d", s.Name, c.messages, c.last, s.Messages, s.LastSeq)
		}
	}
	return nil
}

// reader reads the parts of a stream and tells of the progress, until ctx ends.
func (r *restore) reader(ctx context.Context, s *streamRecord, checking bool) *watched {
	return &watched{ctx: ctx, parts: parts{dir: r.Dir, rest: s.Parts}, tell: func(n int64) {
		if r.Progress != nil {
			r.Progress(RestoreProgress{Checking: checking, Stream: s.Name, Done: n, Bytes: s.Bytes})
		}
	}}
}

type watched struct {
	ctx context.Context
	parts
	n    int64
	tell func(int64)
}

func (w *watched) Read(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.parts.Read(b)
	w.n += int64(n)
	w.tell(w.n)
	return n, err
}

// fill makes the streams, LEDGER first, and sets them free, LEDGER last. While one bears the mark it listens on no
// subject of ours. A restart finds some of them marked, and some, but not LEDGER, free.
func (r *restore) fill(ctx context.Context) error {
	for _, s := range r.Streams {
		if err := r.put(ctx, s); err != nil {
			return fmt.Errorf("put stream %s back: %w", s.Name, err)
		}
	}
	for _, s := range slices.Backward(r.Streams) {
		if err := r.free(ctx, s); err != nil {
			return fmt.Errorf("set stream %s free: %w", s.Name, err)
		}
	}
	return nil
}

// put makes one stream of its snapshot, unless an earlier run has. What it has left half is deleted: it may still be
// receiving, for 5 s after its sender died, and is deleted then.
func (r *restore) put(ctx context.Context, s *streamRecord) error {
	if have := r.there[s.Name]; have != nil {
		if r.whole(have, s) {
			r.kept[s.Name] = true
			return r.replicated(ctx, s)
		}
		if err := r.js.DeleteStream(ctx, s.Name); err != nil && !notFound(err) {
			return err
		}
	}
	config, err := s.config(r.Replicas)
	if err != nil {
		return err
	}
	config["subjects"] = []string{placeholder(s.Name)}
	config["metadata"] = withMark(config, ledger.MetaRestoring, r.ID)
	if err := upload(ctx, r.Conn, s.Name, config, s.State, r.reader(ctx, s, false)); err != nil {
		return err
	}
	return r.replicated(ctx, s)
}

// placeholder is the subject of a stream that is being put back. Nobody publishes there.
func placeholder(stream string) string { return "jl.restoring." + stream }

// config is what the stream is to be created with: as it was, with so many replicas, and where it may be placed is the
// new store's to say.
func (s *streamRecord) config(replicas int) (map[string]any, error) {
	var c map[string]any
	if err := json.Unmarshal(s.Config, &c); err != nil {
		return nil, badBackup("the configuration of stream %s: %w", s.Name, err)
	}
	c["num_replicas"] = replicas
	delete(c, "placement")
	return c, nil
}

// withMark returns the metadata of a configuration with one more entry, and without what the server adds.
func withMark(config map[string]any, key, value string) map[string]string {
	meta := map[string]string{key: value}
	had, _ := config["metadata"].(map[string]any)
	for k, v := range had {
		if text, ok := v.(string); ok && !strings.HasPrefix(k, "_nats.") && k != ledger.MetaRestored && k != ledger.MetaRestoring {
			meta[k] = text
		}
	}
	return meta
}

// replicated returns when the stream holds what it should, on all its replicas.
func (r *restore) replicated(ctx context.Context, s *streamRecord) error {
	waiting, cancel := context.WithTimeout(ctx, replicaWait)
	defer cancel()
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for began := time.Now(); ; {
		info, err := r.info(waiting, s.Name)
		if err == nil && info == nil {
			err = errors.New("it is gone")
		}
		if err == nil && !r.whole(info, s) {
			err = fmt.Errorf("it has %d messages up to %d, %d up to %d were put in", info.State.Msgs, info.State.LastSeq, s.Messages, s.LastSeq)
			if time.Since(began) > lateMax {
				return err
			}
		}
		if err == nil && current(info, r.Replicas) {
			return nil
		}
		select {
		case <-waiting.Done():
			if err == nil {
				err = errors.New("not all of its replicas have it")
			}
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// current reports that all replicas of a stream are up to date.
func current(info *jetstream.StreamInfo, replicas int) bool {
	if info.Config.Replicas != replicas {
		return false
	}
	if replicas == 1 {
		return true
	}
	if info.Cluster == nil || len(info.Cluster.Replicas) != replicas-1 {
		return false
	}
	return !slices.ContainsFunc(info.Cluster.Replicas, func(p *jetstream.PeerInfo) bool { return !p.Current })
}

// free gives a stream its subjects and takes the mark off.
func (r *restore) free(ctx context.Context, s *streamRecord) error {
	config, err := s.config(r.Replicas)
	if err != nil {
		return err
	}
	config["metadata"] = withMark(config, ledger.MetaRestored, r.ID)
	var answer struct{}
	return request(ctx, r.Conn, "$JS.API.STREAM.UPDATE."+s.Name, config, &answer)
}
