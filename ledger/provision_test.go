package ledger_test

import (
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// What Provision makes is what DESIGN (Streams and buckets) says.
func TestProvisionMakesTheCell(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithWindow(7*time.Minute))
	env.SkipVerify() // it puts into a bucket what is no document
	js, ctx := env.Ledger.JetStream(), env.Context()
	config := func(name string) jetstream.StreamConfig {
		s, err := js.Stream(ctx, name)
		if err != nil {
			t.Fatalf("stream %s: %v", name, err)
		}
		return s.CachedInfo().Config
	}
	l := config("LEDGER")
	if l.Storage != jetstream.FileStorage || l.Retention != jetstream.LimitsPolicy || !l.DenyDelete || !l.AllowDirect ||
		l.AllowRollup || l.AllowMsgTTL || l.AllowMsgSchedules || l.Compression != jetstream.NoCompression || l.MaxAge != 0 || l.Duplicates != 7*time.Minute {
		t.Errorf("LEDGER is %+v", l)
	}
	w := config("WORK")
	if w.Storage != jetstream.MemoryStorage || w.Retention != jetstream.WorkQueuePolicy || w.Discard != jetstream.DiscardNew ||
		!w.DiscardNewPerSubject || w.MaxMsgsPerSubject != 1 || w.Replicas != 1 {
		t.Errorf("WORK is %+v", w)
	}
	for bucket, want := range map[string]struct {
		storage jetstream.StorageType
		history int64
		ttl     bool
		aged    bool
	}{
		"JOBS": {jetstream.FileStorage, 1, true, false}, "COUNTS": {jetstream.FileStorage, 1, false, false},
		"CONFIG": {jetstream.FileStorage, 64, false, false}, "LEASE": {jetstream.MemoryStorage, 1, true, false},
		"LIVE": {jetstream.MemoryStorage, 1, true, true},
	} {
		kv, err := js.KeyValue(ctx, bucket)
		if err != nil {
			t.Fatalf("bucket %s: %v", bucket, err)
		}
		if _, err := kv.Create(ctx, "a.key", []byte("v")); err != nil {
			t.Errorf("bucket %s takes no value: %v", bucket, err)
		}
		c := config("KV_" + bucket)
		if c.Storage != want.storage || c.MaxMsgsPerSubject != want.history || c.AllowMsgTTL != want.ttl || (c.MaxAge > 0) != want.aged {
			t.Errorf("bucket %s is %+v", bucket, c)
		}
	}
	for _, store := range []string{"ARGS", "RESULTS"} {
		s, err := js.ObjectStore(ctx, store)
		if err != nil {
			t.Fatalf("object store %s: %v", store, err)
		}
		if _, err := s.PutString(ctx, "o/j/e", "payload"); err != nil {
			t.Error(err)
		}
	}
}

// Servers that provision at once agree on one start of the cell, and write one cell_started.
func TestProvisionAtOnce(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithoutProvision())
	const servers = 4
	cells := make([]ledger.Cell, servers)
	provisionAll := func() (started int) {
		var wg sync.WaitGroup
		for i := range cells {
			l := env.NewLedger()
			wg.Go(func() {
				var err error
				if cells[i], err = ledger.Provision(env.Context(), l, ledger.ProvisionConfig{Version: "v"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, c := range cells {
			if c.ID == "" || c.ID != cells[0].ID {
				t.Errorf("servers disagree on the start: %+v", cells)
			}
			if c.Started {
				started++
			}
		}
		return started
	}
	if n := provisionAll(); n != 1 {
		t.Errorf("%d servers say that they began the start, want 1", n)
	}
	first := cells[0].ID
	if err := env.Ledger.JetStream().DeleteKeyValue(env.Context(), ledger.BucketLease); err != nil {
		t.Fatal(err)
	}
	if n := provisionAll(); n != 1 || cells[0].ID == first {
		t.Errorf("LEASE deleted: %d began a start, %s after %s", n, cells[0].ID, first)
	}
	if starts := messages(t, env.Ledger, ledger.ControlStart.String()); len(starts) != 2 || starts[1].Data.(*schemas.CellStarted).Cell != cells[0].ID {
		t.Errorf("the ledger holds the starts %+v, want 2", starts)
	}
}

// A LEDGER that would break a promise is refused, naming the setting and what to do; nothing is changed.
func TestProvisionRefusesBrokenPromises(t *testing.T) {
	t.Parallel()
	good := jetstream.StreamConfig{Name: "LEDGER", Subjects: []string{"jobs.>", "control.>"}, Storage: jetstream.FileStorage,
		DenyDelete: true, AllowDirect: true, Metadata: map[string]string{"jobledger": "ledger"}}
	env := ledgertest.Start(t, ledgertest.WithoutProvision())
	js, ctx := env.Ledger.JetStream(), env.Context()
	for setting, change := range map[string]func(c *jetstream.StreamConfig){
		"allow_rollup_hdrs":    func(c *jetstream.StreamConfig) { c.AllowRollup = true },
		"allow_msg_schedules":  func(c *jetstream.StreamConfig) { c.AllowMsgSchedules = true },
		"allow_msg_ttl":        func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true },
		"max_age":              func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"deny_delete":          func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"subjects":             func(c *jetstream.StreamConfig) { c.Subjects = []string{"jobs.>"} },
		"subjects more":        func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "more.>") },
		"max_msgs":             func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 5, jetstream.DiscardNew },
		"max_bytes":            func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 },
		"max_msgs_per_subject": func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 },
		"max_msg_size":         func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 },
		"storage":              func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"retention":            func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
		"republish":            func(c *jetstream.StreamConfig) { c.RePublish = &jetstream.RePublish{Destination: "re.>"} },
		"no_ack":               func(c *jetstream.StreamConfig) { c.NoAck = true },
		"persist_mode":         func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"not made by":          func(c *jetstream.StreamConfig) { c.Metadata = nil },
	} {
		c := good
		c.Subjects = append([]string(nil), good.Subjects...)
		change(&c)
		s := createStream(t, js, c)
		before := s.CachedInfo().Config
		_, err := ledger.Provision(ctx, env.Ledger, ledger.ProvisionConfig{DuplicateWindow: time.Minute})
		name, _, _ := strings.Cut(setting, " ")
		if setting == "not made by" {
			name = setting
		}
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "LEDGER") {
			t.Errorf("%s: %v, want a refusal that names it", setting, err)
		}
		if err := env.Ledger.Check(ctx); err == nil {
			t.Errorf("%s: Check found nothing", setting)
		}
		s, err = js.Stream(ctx, "LEDGER")
		if err != nil || !reflect.DeepEqual(s.CachedInfo().Config, before) {
			t.Errorf("%s: the stream was changed: %+v", setting, s.CachedInfo().Config)
		}
		if err := js.DeleteStream(ctx, "LEDGER"); err != nil {
			t.Fatal(err)
		}
	}
	if err := env.Ledger.Check(ctx); ledger.AsError(err).Code != ledger.CodeUnavailable || !strings.Contains(err.Error(), "start a server") {
		t.Errorf("check without a ledger: %v", err)
	}
}

// An object store that would lose what an event names is refused too; one with a bound in bytes is not.
func TestProvisionRefusesLossyStores(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithoutProvision())
	js, ctx := env.Ledger.JetStream(), env.Context()
	good := jetstream.StreamConfig{Name: "OBJ_ARGS", Subjects: []string{"$O.ARGS.C.>", "$O.ARGS.M.>"}, Storage: jetstream.FileStorage,
		Discard: jetstream.DiscardNew, MaxBytes: 1 << 30, AllowRollup: true, AllowDirect: true, Metadata: map[string]string{"jobledger": "store"}}
	for setting, change := range map[string]func(c *jetstream.StreamConfig){
		"max_age":              func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"storage":              func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"discard":              func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"max_msgs_per_subject": func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 },
		"max_msg_size":         func(c *jetstream.StreamConfig) { c.MaxMsgSize = 64 << 10 },
		"allow_rollup_hdrs":    func(c *jetstream.StreamConfig) { c.AllowRollup = false },
		"allow_direct":         func(c *jetstream.StreamConfig) { c.AllowDirect = false },
		"subjects":             func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[:1] },
		"not made by":          func(c *jetstream.StreamConfig) { c.Metadata = nil },
		"":                     func(*jetstream.StreamConfig) {},
	} {
		c := good
		change(&c)
		createStream(t, js, c)
		_, err := ledger.Provision(ctx, env.Ledger, ledger.ProvisionConfig{})
		if setting == "" && err != nil || setting != "" && (err == nil || !strings.Contains(err.Error(), setting) || !strings.Contains(err.Error(), "OBJ_ARGS")) {
			t.Errorf("%s: %v", setting, err)
		}
		if err := js.DeleteStream(ctx, "OBJ_ARGS"); err != nil {
			t.Fatal(err)
		}
	}
}

// createStream outlasts the moment in which the folder of a stream of that name is still being removed.
func createStream(t *testing.T, js jetstream.JetStream, c jetstream.StreamConfig) jetstream.Stream {
	t.Helper()
	for began := time.Now(); ; {
		s, err := js.CreateStream(t.Context(), c)
		if err == nil {
			return s
		}
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.Code != 500 || time.Since(began) > time.Minute {
			t.Fatalf("create stream %+v: %v", c, err)
		}
	}
}

// "A stream of a foreign tool under our name", for each of our names, and one that takes our subjects.
func TestProvisionRefusesForeignStreams(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithoutProvision())
	js, ctx := env.Ledger.JetStream(), env.Context()
	for name, subject := range map[string]string{"LEDGER": "their.>", "WORK": "their.>", "KV_JOBS": "$KV.JOBS.>",
		"KV_LEASE": "$KV.LEASE.>", "THEIRS": "jobs.acme.>"} {
		for _, ours := range []string{name, "LEDGER"} { // made by an earlier round
			if err := js.DeleteStream(ctx, ours); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				t.Fatal(err)
			}
		}
		createStream(t, js, jetstream.StreamConfig{Name: name, Subjects: []string{subject}})
		_, err := ledger.Provision(ctx, env.Ledger, ledger.ProvisionConfig{})
		if err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(name, "THEIRS")) || !strings.Contains(err.Error(), "account of its own") {
			t.Errorf("foreign stream %s: %v, want a refusal that says what to do", name, err)
		}
		if err := js.DeleteStream(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ledger.Provision(ctx, env.Ledger, ledger.ProvisionConfig{}); err != nil {
		t.Errorf("with the foreign streams gone: %v", err)
	}
	for what, cfg := range map[string]ledger.ProvisionConfig{"has 1 replicas": {Replicas: 3}, "use 1, 3 or 5": {Replicas: 9}, "outside": {DuplicateWindow: 2 * time.Hour}} {
		if _, err := ledger.Provision(ctx, env.Ledger, cfg); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if _, err := ledger.Provision(ctx, env.Ledger, ledger.ProvisionConfig{DuplicateWindow: 2 * time.Minute}); err != nil {
		t.Errorf("another duplicate window: %v", err)
	}
	if s, err := js.Stream(ctx, "LEDGER"); err != nil || s.CachedInfo().Config.Duplicates != 2*time.Minute {
		t.Errorf("the duplicate window was not set: %v", err)
	}
}

// WORK lives anew with higher sequences, so that an ack from its earlier life names nothing (ENGINE 12).
func TestRecreateWork(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, js, ctx := env.Ledger, env.Ledger.JetStream(), env.Context()
	if _, err := l.EnsureConsumer(ctx, "q", "t"); err != nil {
		t.Fatal(err)
	}
	c, err := l.EnsureConsumer(ctx, "q", "t")
	if err != nil {
		t.Fatalf("a second time: %v", err)
	}
	cfg := c.CachedInfo().Config
	if cfg.AckWait != ledger.AckWait || cfg.MaxDeliver != -1 || cfg.MaxAckPending < 10_000 || cfg.MaxWaiting <= 512 ||
		cfg.AckPolicy != jetstream.AckExplicitPolicy || cfg.FilterSubject != "work.q.t.*.*" || !cfg.MemoryStorage {
		t.Errorf("consumer is %+v", cfg)
	}
	subject := ledger.OfferSubject("q", "t", "acme", "j1")
	if _, err := js.Publish(ctx, subject, []byte("old")); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, subject, []byte("second")); err == nil {
		t.Error("a second offer of one job was taken")
	}
	old, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.RecreateWork(ctx); err != nil {
		t.Fatal(err)
	}
	if c, err = l.EnsureConsumer(ctx, "q", "t"); err != nil {
		t.Fatal(err)
	}
	ack, err := js.Publish(ctx, subject, []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := old.Metadata()
	if err != nil || ack.Sequence <= meta.Sequence.Stream {
		t.Errorf("the new life begins at %d, the old one reached %d", ack.Sequence, meta.Sequence.Stream)
	}
	if err := old.DoubleAck(ctx); err != nil {
		t.Logf("the late ack: %v", err)
	}
	if m, err := c.Next(); err != nil || string(m.Data()) != "new" {
		t.Errorf("after a late ack from the old life: %v (%v), want the new offer", m, err)
	}
	if err := l.EnsureWork(ctx); err != nil {
		t.Errorf("ensure what is there: %v", err)
	}
}

// LEASE lives in memory, and its successor begins above all revisions that were given out: a renewal of a leader of
// the earlier life, which expects the latest one it wrote, is refused, however many were written since (DESIGN D6).
func TestLeaseRevisionsRise(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	js := env.Ledger.JetStream()
	put := func() uint64 {
		t.Helper()
		kv, err := js.KeyValue(env.Context(), ledger.BucketLease)
		if err != nil {
			t.Fatal(err)
		}
		rev, err := kv.Create(env.Context(), ledger.LeaseKey, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
	before := put()
	if err := js.DeleteStream(env.Context(), "KV_"+ledger.BucketLease); err != nil {
		t.Fatal(err)
	}
	env.Provision()
	if after := put(); after <= before {
		t.Errorf("the first revision of the new bucket is %d, one of the old was %d", after, before)
	}
}
