package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// triesMax is how often one stream is begun anew after the server broke off, and how often the set is when the
	// archive ran past the copy of LEDGER.
	triesMax = 4
	// resumeMax is how old the cut of LEDGER may be for a run that goes on. Behind that retention may have removed
	// what it names.
	resumeMax = 24 * time.Hour
)

// Config says what to copy where.
type Config struct {
	// Ledger to copy. Required.
	Ledger *ledger.Ledger
	// Logger is required.
	Logger *zap.Logger
	// Dir is the folder of the backup: missing, empty, or left by an interrupted run. Required.
	Dir string
	// Version of the program; it stands in the backup.
	Version string
	// Rate bounds the bytes a second that are read, as stored in the backup; 0 takes what comes.
	Rate int64
	// Progress, if set, hears how far each stream is.
	Progress func(Progress)
}

// Progress tells how far a stream is.
type Progress struct {
	Stream     string
	Done, Last uint64 // sequences
}

func (c *Config) validate() error {
	switch {
	case c.Ledger == nil:
		return errors.New("backup: Config.Ledger is required")
	case c.Logger == nil:
		return errors.New("backup: Config.Logger is required")
	case c.Dir == "":
		return errors.New("backup: Config.Dir is required")
	}
	return nil
}

// run is one run of a backup.
type run struct {
	Config
	mark mark
	kept map[string]bool
}

// Run makes a backup, or ends one that an earlier run has begun in the folder. It is safe beside everything that goes
// on. Errors: an *ledger.Error with code in_use for a folder that is not ours to write to; context errors; what the
// server or the file system says. After any of them the same call goes on where it stopped.
func Run(ctx context.Context, cfg Config) (*Summary, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	source, err := cfg.Ledger.JetStream().Stream(ctx, ledger.StreamLedger)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", ledger.StreamLedger, err)
	}
	r := &run{Config: cfg, kept: make(map[string]bool)}
	r.mark, err = openDir(cfg.Dir, mark{V: formatVersion, Ledger: source.CachedInfo().Created.UTC(), Began: time.Now().UTC(),
		Version: cfg.Version, Server: cfg.Ledger.Conn().ConnectedServerVersion()})
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		m, err := r.whole(ctx)
		if err != nil {
			return nil, err
		}
		void, err := r.void(ctx, m, try == triesMax)
		if err != nil {
			return nil, err
		}
		if void == "" {
			m.Ended = time.Now().UTC()
			sum, err := saveManifest(cfg.Dir, m)
			if err != nil {
				return nil, err
			}
			return m.summary(sum, r.kept), nil
		}
		if err := r.forget(void); err != nil {
			return nil, err
		}
	}
}

// void names the first stream whose copy has to be taken again, with those behind it, because what happened meanwhile
// makes it no part of one history with them.
func (r *run) void(ctx context.Context, m *manifest, last bool) (stream string, err error) {
	catalog := m.stream(ledger.StreamCatalog)
	if catalog == nil {
		return "", nil
	}
	if catalog.Through > m.stream(ledger.StreamLedger).LastSeq {
		if last {
			return "", ledger.Errorf(ledger.CodeUnavailable, "the archive went past the copy of the ledger %d times: jobs leave %s faster than it is read; raise the hot window while the backup runs",
				triesMax, ledger.StreamLedger)
		}
		r.Logger.Info("the archive went on past the copy of the ledger while that was read: it is taken again")
		return ledger.StreamLedger, nil
	}
	removed, err := r.Ledger.RemovedSince(ctx, schemas.Seq(catalog.LastSeq))
	if err != nil || !removed {
		return "", err
	}
	if last {
		// What the copy lacks is past its retention, and goes there too when a server runs on it.
		r.Logger.Warn("segments of the archive whose time was over were removed while they were copied: the copy may name what it does not hold")
		return "", nil
	}
	r.Logger.Info("segments of the archive were removed while it was copied: it is taken again")
	return ledger.StreamCatalog, nil
}

// whole takes every stream that is not there yet, in the order of ledger.TruthStreams. One that is taken anew makes those
// behind it void, for they must be cut later.
func (r *run) whole(ctx context.Context) (*manifest, error) {
	m := &manifest{mark: r.mark}
	if err := r.tidy(); err != nil {
		return nil, err
	}
	anew := false
	for _, name := range ledger.TruthStreams() {
		record, err := r.complete(name)
		if err != nil {
			return nil, err
		}
		if record == nil || anew {
			if record, err = r.take(ctx, name); err != nil {
				return nil, err
			}
			anew = true
			r.kept[name] = false
		} else {
			r.kept[name] = true
		}
		if record != nil {
			m.Streams = append(m.Streams, record)
		}
	}
	return m, nil
}

// complete returns the record of a stream that an earlier run has copied, after all its parts were read; nil if it
// has to be taken.
func (r *run) complete(name string) (*streamRecord, error) {
	record, err := r.record(name)
	if record == nil || err != nil {
		return nil, err
	}
	if name == ledger.StreamLedger && time.Since(record.Cut) > resumeMax {
		return nil, nil
	}
	for _, p := range record.Parts {
		if _, err := readPart(r.Dir, p); errors.Is(err, ErrDamaged) {
			r.Logger.Warn("a stream that an earlier run has copied is taken again", zap.String("stream", name), zap.Error(err))
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	return record, nil
}

// record reads what an earlier run says of a stream; nil if nothing, or nothing that can be read.
func (r *run) record(name string) (*streamRecord, error) {
	body, err := readFile(r.Dir, name+suffixRecord)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	record := new(streamRecord)
	if json.Unmarshal(body, record) != nil || record.Name != name {
		return nil, nil
	}
	for _, p := range record.Parts {
		if !filepath.IsLocal(filepath.FromSlash(p.Name)) {
			return nil, nil
		}
	}
	return record, nil
}

// forget makes a stream and those behind it be taken again.
func (r *run) forget(from string) error {
	all := ledger.TruthStreams()
	for _, name := range all[slices.Index(all, from):] {
		if err := os.Remove(filepath.Join(r.Dir, name+suffixRecord)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return syncDir(r.Dir)
}

// tidy removes the attempts that no record names: of a run that was killed, or that has taken a stream again.
func (r *run) tidy() error {
	named := make(map[string]bool)
	for _, name := range ledger.TruthStreams() {
		record, err := r.record(name)
		if err != nil {
			return err
		}
		if record != nil {
			for _, p := range record.Parts {
				named[filepath.Dir(filepath.FromSlash(p.Name))] = true
			}
		}
	}
	there, err := os.ReadDir(r.Dir)
	if err != nil {
		return err
	}
	for _, e := range there {
		if e.IsDir() && !named[e.Name()] {
			if err := os.RemoveAll(filepath.Join(r.Dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// take copies a stream; nil if the ledger has none of that name. Where the server breaks off it is begun anew.
func (r *run) take(ctx context.Context, name string) (*streamRecord, error) {
	if err := r.forget(name); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		record, err := r.attempt(ctx, name)
		var file *os.PathError
		switch {
		case err == nil:
			return record, nil
		case notFound(err) && name != ledger.StreamLedger:
			return nil, nil // a ledger of an earlier version has no archive
		case ctx.Err() != nil || errors.As(err, &file) || try == triesMax:
			return nil, fmt.Errorf("copy stream %s: %w", name, err)
		}
		r.Logger.Warn("the copy of a stream broke off, and is begun anew", zap.String("stream", name), zap.Error(err))
	}
}

// attempt copies a stream once. Until its record is written nothing of it counts.
func (r *run) attempt(ctx context.Context, name string) (*streamRecord, error) {
	// Of a cluster nobody answers a request for the snapshot of a stream that is not there.
	if _, err := r.Ledger.JetStream().Stream(ctx, name); err != nil {
		return nil, err
	}
	w, err := newPartWriter(r.Dir, name)
	if err != nil {
		return nil, err
	}
	record := &streamRecord{Name: name, Cut: time.Now().UTC()}
	var cut jetstream.StreamState
	back, feed := io.Pipe()
	type finding struct {
		*content
		err error
	}
	found := make(chan finding, 1)
	go func() { // reads what is written; joined below
		c, err := decode(name, back, func(seq uint64) {
			if r.Progress != nil {
				r.Progress(Progress{name, seq, cut.LastSeq})
			}
		})
		_ = back.CloseWithError(err)
		found <- finding{c, err}
	}()
	err = snapshot(ctx, r.Ledger.Conn(), name, r.Rate, io.MultiWriter(w, feed), func(a *snapshotAnswer) error {
		record.Config, record.State, cut = a.Config, a.State, a.state
		return nil
	})
	_ = feed.CloseWithError(err)
	f := <-found
	if err == nil {
		err = f.err
	}
	if err == nil {
		err = record.describe(f.content, cut)
	}
	if err == nil {
		err = w.finish(record)
	}
	if err != nil {
		w.abandon()
		return nil, err
	}
	return record, nil
}

// describe says in the record what was found.
func (s *streamRecord) describe(c *content, cut jetstream.StreamState) error {
	s.Format, s.LastSeq, s.Through = c.format, cut.LastSeq, c.through
	if c.format == formFiles { // what was stored while it was read may be in it too
		s.Messages, s.FirstSeq = cut.Msgs, cut.FirstSeq
		return nil
	}
	if c.last > cut.LastSeq || c.messages > cut.Msgs {
		return fmt.Errorf("the snapshot holds %d messages up to %d, more than the %d up to %d of its cut", c.messages, c.last, cut.Msgs, cut.LastSeq)
	}
	s.Messages, s.FirstSeq = c.messages, c.first
	if c.messages == 0 {
		s.FirstSeq = cut.FirstSeq
	}
	if s.Name == ledger.StreamLedger && c.last == cut.LastSeq {
		s.LastEvent = c.lastEvent
	}
	return nil
}
