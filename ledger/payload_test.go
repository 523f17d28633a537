package ledger_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// argsOf is JSON of exactly n bytes, different for each seed.
func argsOf(n int, seed string) string {
	head, tail := `{"seed":"`+seed+`","fill":"`, `"}`
	return head + strings.Repeat("0123456789abcdef", n/16+1)[:n-len(head)-len(tail)] + tail
}

// overInline is a size that does not fit into the event.
const overInline = schemas.ArgsMax + 1

// collect judges everything that is stored, however young.
func collect(t *testing.T, env *ledgertest.Env) ledger.Collected {
	t.Helper()
	c, err := ledger.NewCollector(ledger.CollectorConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), Grace: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Look(env.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// left counts what stands in an object store: messages of all kinds.
func left(t *testing.T, env *ledgertest.Env, store string) uint64 {
	t.Helper()
	s, err := env.Ledger.JetStream().Stream(env.Context(), "OBJ_"+store)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// wantArgs folds a job and compares its args with what was submitted.
func wantArgs(t *testing.T, env *ledgertest.Env, org schemas.OrgID, id schemas.JobID, want string) *ledger.Job {
	t.Helper()
	j, err := env.Ledger.Fold(env.Context(), org, id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := env.Ledger.Args(env.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("args are %d bytes %.40s, want %d bytes %.40s", len(got), got, len(want), want)
	}
	return j
}

// up to the limit args stand in the event, over it in an object named by it, in the form that every NATS
// tool reads, byte for byte either way.
func TestArgsByReference(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	for _, n := range []int{100, schemas.ArgsMax, overInline, 8 << 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			want := argsOf(n, "a")
			got := submit(t, env.Ledger, request("echo", want))
			j := wantArgs(t, env, sceneOrg, got.ID, want)
			ref := j.Spec.ArgsRef
			if (ref != nil) != (n > schemas.ArgsMax) || (len(j.Spec.Args) > 0) == (ref != nil) {
				t.Fatalf("%d bytes inline, reference %+v", len(j.Spec.Args), ref)
			}
			if ref == nil {
				return
			}
			if name := fmt.Sprintf("%s/%s/%s", sceneOrg, got.ID, j.SubmittedID); ref.Name != name || ref.Bucket != ledger.StoreArgs || ref.Bytes != int64(n) {
				t.Errorf("reference is %+v, want the name %s", ref, name)
			}
			store, err := env.Ledger.JetStream().ObjectStore(t.Context(), ledger.StoreArgs)
			if err != nil {
				t.Fatal(err)
			}
			if content, err := store.GetBytes(t.Context(), ref.Name); err != nil || string(content) != want {
				t.Errorf("the client library reads %d bytes: %v", len(content), err)
			}
		})
	}
	if got := collect(t, env); got.Removed != 0 || got.Judged != 2 {
		t.Errorf("the collector says %+v, want 2 judged and nothing removed", got)
	}
}

// what is the same work does not depend on where it is kept. Blanks take the second over the limit.
func TestReferenceIsTheSameWork(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	inline := argsOf(schemas.ArgsMax-10, "same")
	spaced := inline[:1] + strings.Repeat(" ", 200) + inline[1:]
	other := argsOf(overInline, "other")
	for name, change := range map[string]func(r *ledger.SubmitRequest){
		"content":   func(*ledger.SubmitRequest) {},
		"in flight": func(r *ledger.SubmitRequest) { r.Type = "flight" },
		"key":       func(r *ledger.SubmitRequest) { r.Key = "k" },
		"own id":    func(r *ledger.SubmitRequest) { r.ID = "own" },
	} {
		for _, order := range [][2]string{{inline, spaced}, {spaced, inline}} {
			t.Run(fmt.Sprintf("%s, %d then %d bytes", name, len(order[0]), len(order[1])), func(t *testing.T) {
				r := request("echo", order[0])
				r.Org = schemas.OrgID(schemas.NewJobID())
				change(&r)
				first := submit(t, env.Ledger, r)
				r.Args = json.RawMessage(order[1])
				if again := submit(t, env.Ledger, r); !again.Duplicate || again.ID != first.ID {
					t.Errorf("%+v, want a duplicate of %s", again, first.ID)
				}
				wantArgs(t, env, r.Org, first.ID, order[0])
				if r.Key != "" || r.ID != "" {
					r.Args = json.RawMessage(other)
					_, err := env.Ledger.Submit(t.Context(), r)
					if e := ledger.AsError(err); e == nil || e.Code != ledger.CodeIDConflict {
						t.Errorf("other content: %v, want id_conflict", err)
					}
				}
			})
		}
	}
	// Duplicates and conflicts have removed what they had uploaded.
	if got := collect(t, env); got.Removed != 0 {
		t.Errorf("%d objects were left over", got.Removed)
	}
}

// Bad input, over the inline limit too.
func TestLargeArgsRefused(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	broken := argsOf(overInline, "x")
	_, err := env.Ledger.Submit(t.Context(), request("echo", broken[:len(broken)-1]))
	wantCode(t, err, ledger.CodeInvalidArgument, "args")
	_, err = env.Ledger.Submit(t.Context(), request("echo", argsOf(schemas.PayloadMax+1, "x")))
	wantCode(t, err, ledger.CodePayloadTooLarge, "args")
	if n := left(t, env, ledger.StoreArgs); n != 0 {
		t.Errorf("%d messages are in the store", n)
	}
}

// R-907, STYLE 21: every write of a submit by reference refused, or stored with its reply lost, times restart: one
// job, with its args, and nothing else in the store.
func TestPayloadFaultTable(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	want := argsOf(overInline, "fault") // three chunks
	type step struct {
		name  string
		fault ledgertest.Fault
	}
	steps := []step{{"first record", ledgertest.Fault{Upload: true}}, {"first chunk", ledgertest.Fault{Upload: true, Skip: 1}},
		{"last chunk", ledgertest.Fault{Upload: true, Skip: 3}}, {"last record", ledgertest.Fault{Upload: true, Skip: 4}},
		{"event", ledgertest.Fault{Event: schemas.EventSubmitted}}}
	for _, s := range steps {
		for kind := ledgertest.Refuse; kind <= ledgertest.LoseReply; kind++ {
			for _, restart := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, fault %d, restart %t", s.name, kind, restart), func(t *testing.T) {
					r := request("echo", want)
					r.Org = schemas.OrgID(schemas.NewJobID())
					f := s.fault
					f.Kind = kind
					f.After = func(*nats.Msg) {
						if restart {
							env.Stop()
							env.StartServer()
						}
					}
					hits := env.Faults.Hits()
					env.Faults.Inject(f)
					got := submit(t, env.Ledger, r)
					if env.Faults.Hits() != hits+1 {
						t.Error("the fault did not happen")
					}
					wantArgs(t, env, r.Org, got.ID, want)
				})
			}
		}
	}
	judged := collect(t, env)
	if jobs := len(steps) * 6; judged.Removed != 0 || judged.Judged != jobs || left(t, env, ledger.StoreArgs) != uint64(4*jobs) {
		t.Errorf("collected %+v, %d messages in the store; want %d objects of four messages", judged, left(t, env, ledger.StoreArgs), jobs)
	}
}

// A store that takes nothing more: the submit says so and that nothing is stored, what it had uploaded is gone, and
// work goes on once there is room. It is really full: by a limit of its stream.
func TestPayloadStoreFull(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	limit := func(bytes int64) {
		t.Helper()
		s, err := env.Ledger.JetStream().Stream(t.Context(), "OBJ_"+ledger.StoreArgs)
		if err != nil {
			t.Fatal(err)
		}
		c := s.CachedInfo().Config
		c.MaxBytes = bytes
		if _, err := env.Ledger.JetStream().UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	limit(2 << 20)
	before := len(messages(t, env.Ledger, "jobs.>"))
	receipt, err := env.Ledger.Submit(t.Context(), request("echo", argsOf(3<<20, "full")))
	if e := ledger.AsError(err); e == nil || e.Code != ledger.CodeUnavailable || e.Details[ledger.DetailReason] != ledger.ReasonPayloadNotStored {
		t.Errorf("%+v, %v; want unavailable, payload_not_stored", receipt, err)
	}
	if n := len(messages(t, env.Ledger, "jobs.>")); n != before || left(t, env, ledger.StoreArgs) != 0 {
		t.Errorf("%d events and %d messages in the store were left", n-before, left(t, env, ledger.StoreArgs))
	}
	submit(t, env.Ledger, request("echo", argsOf(100, "small"))) // the ledger itself is not full
	limit(-1)
	want := argsOf(3<<20, "full")
	wantArgs(t, env, sceneOrg, submit(t, env.Ledger, request("echo", want)).ID, want)
}

// A publisher that dies between upload and append leaves an orphan, which the collector removes. If its event got
// through although it never heard so, the object stays.
func TestPayloadOrphans(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	for _, stored := range []bool{false, true} {
		kind := ledgertest.LoseRequest
		if stored {
			kind = ledgertest.LoseReply
		}
		ctx, die := context.WithCancel(t.Context())
		env.Faults.Inject(ledgertest.Fault{Event: schemas.EventSubmitted, Kind: kind, After: func(*nats.Msg) { die() }})
		receipt, err := env.Ledger.Submit(ctx, request("echo", argsOf(overInline, fmt.Sprint(stored))))
		if !errors.Is(err, ledger.ErrUnknown) {
			t.Fatalf("%+v, %v; want unknown", receipt, err)
		}
		orphans := map[bool]int{false: 1, true: 0}[stored]
		if v := verifyFull(t, env); !v.OK || *v.Orphans != orphans {
			t.Errorf("stored %t: the checker says %+v, %d orphans", stored, v, *v.Orphans)
		}
		if got := collect(t, env); got.Judged != 1 || got.Removed != orphans {
			t.Errorf("stored %t: collected %+v", stored, got)
		}
		if stored {
			wantArgs(t, env, sceneOrg, receipt.ID, argsOf(overInline, "true"))
		} else if n := left(t, env, ledger.StoreArgs); n != 0 {
			t.Errorf("%d messages are left in the store", n)
		}
	}
}

// A publisher that dies in the middle of an upload leaves a record that names its chunks: both are collected.
func TestHalfUploadIsCollected(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	dead := errors.New("the process is gone")
	for alive := 1; alive <= 4; alive++ { // so many writes are stored
		writes := 0
		l := withPublish(t, env, func(next ledger.PublishFunc) ledger.PublishFunc {
			return func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
				if writes++; writes > alive {
					return nil, dead
				}
				return next(ctx, m)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if _, err := l.Submit(ctx, request("echo", argsOf(overInline, "half"))); err == nil {
			t.Fatal("the submit succeeded")
		}
		cancel()
		if got := collect(t, env); left(t, env, ledger.StoreArgs) != 0 {
			t.Errorf("after %d writes: collected %+v, %d messages are left", alive, got, left(t, env, ledger.StoreArgs))
		}
	}
}

// The collector takes an upload for dead that is only slow: the record that would complete it is refused, and the
// uploader begins again. No event ever names what is not there.
func TestCollectorAgainstUploader(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	for skip := range 5 {
		t.Run(fmt.Sprint("before write ", skip+1), func(t *testing.T) {
			want := argsOf(overInline, fmt.Sprint(skip))
			env.Faults.Inject(ledgertest.Fault{Upload: true, Skip: skip, Before: func(*nats.Msg) { collect(t, env) }})
			got := submit(t, env.Ledger, request("echo", want))
			wantArgs(t, env, sceneOrg, got.ID, want)
		})
	}
	if got := collect(t, env); got.Removed != 0 || left(t, env, ledger.StoreArgs) != 5*4 {
		t.Errorf("collected %+v, %d messages in the store, want 5 objects of four", got, left(t, env, ledger.StoreArgs))
	}
}

// A publisher that was suspended between upload and append, until the collector had taken the args for an orphan,
// stores them again behind its event.
func TestSuspendedPublisher(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	env.Ledger.FreshFor(time.Nanosecond)
	want := argsOf(overInline, "suspended")
	removed := 0
	env.Faults.Inject(ledgertest.Fault{Event: schemas.EventSubmitted, Before: func(*nats.Msg) { removed = collect(t, env).Removed }})
	got := submit(t, env.Ledger, request("echo", want))
	if removed != 1 {
		t.Errorf("%d objects were removed, want the one", removed)
	}
	wantArgs(t, env, sceneOrg, got.ID, want)
}

// One request served twice at once, as when a caller repeats it to another server: one object, one job.
func TestPayloadOfRepeatedRequest(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	want := argsOf(2<<20, "repeated")
	r := request("plain", want)
	r.RequestID = uuid.Must(uuid.NewV7())
	ids := make([]schemas.JobID, 4)
	var wg sync.WaitGroup
	for i := range ids {
		l := env.NewLedger()
		wg.Go(func() {
			receipt, err := l.Submit(t.Context(), r)
			if err != nil {
				t.Error(err)
			}
			ids[i] = receipt.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("jobs are %v, want one", ids)
		}
	}
	wantArgs(t, env, sceneOrg, ids[0], want)
	if got := collect(t, env); got.Judged != 1 || got.Removed != 0 {
		t.Errorf("collected %+v, want one object and nothing removed", got)
	}
}

// a reference gives nothing that is not the job's own, whoever made the event.
func TestForgedReference(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	victim := submit(t, env.Ledger, request("echo", argsOf(overInline, "secret")))
	j, err := env.Ledger.Fold(t.Context(), sceneOrg, victim.ID)
	if err != nil {
		t.Fatal(err)
	}
	real := *j.Spec.ArgsRef
	own := func(event string) string { return "evil/forged/" + event }
	for name, ref := range map[string]schemas.ObjectRef{
		"another org's":   real,
		"path upwards":    {Bucket: real.Bucket, Name: "evil/forged/../../" + real.Name, Bytes: real.Bytes, SHA256: real.SHA256},
		"dots":            {Bucket: real.Bucket, Name: own(".."), Bytes: real.Bytes, SHA256: real.SHA256},
		"another bucket":  {Bucket: "SECRETS", Name: own("e"), Bytes: real.Bytes, SHA256: real.SHA256},
		"results as args": {Bucket: ledger.StoreResults, Name: own("e"), Bytes: real.Bytes, SHA256: real.SHA256},
		"empty":           {},
	} {
		forged := &ledger.Job{Org: "evil", ID: "forged", Spec: schemas.Submitted{ArgsRef: &ref}}
		if got, err := env.Ledger.Args(t.Context(), forged); !errors.Is(err, ledger.ErrPayloadForeign) || got != nil {
			t.Errorf("%s: %d bytes, %v; want ErrPayloadForeign", name, len(got), err)
		}
	}
	r := ledger.SubmitRequest{Org: "evil", Type: "echo", ArgsRef: &real}
	_, err = env.Ledger.Submit(t.Context(), r)
	wantCode(t, err, ledger.CodeInvalidArgument, "args")
	// Of the same org it may be borrowed, as a resubmit does; the new job has an object of its own.
	r.Org, r.NoDedup = sceneOrg, true
	again := wantArgs(t, env, sceneOrg, submit(t, env.Ledger, r).ID, argsOf(overInline, "secret"))
	if again.Spec.ArgsRef.Name == real.Name {
		t.Error("two jobs share an object")
	}
}

// What was damaged is told, by the reader and by the checker.
func TestDamagedPayloads(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	store, err := env.Ledger.JetStream().ObjectStore(t.Context(), ledger.StoreArgs)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := env.Ledger.JetStream().Stream(t.Context(), "OBJ_"+ledger.StoreArgs)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		damage func(name string) error
		want   error
	}{
		"deleted":     {func(name string) error { return store.Delete(t.Context(), name) }, ledger.ErrPayloadMissing},
		"other bytes": {func(name string) error { _, err := store.PutString(t.Context(), name, "x"); return err }, ledger.ErrPayloadCorrupt},
		"other digest": {func(name string) error {
			_, err := store.PutBytes(t.Context(), name, bytes.Repeat([]byte("x"), overInline))
			return err
		}, ledger.ErrPayloadCorrupt},
		"lost chunks": {func(name string) error {
			info, err := store.GetInfo(t.Context(), name)
			if err != nil {
				return err
			}
			return stream.Purge(t.Context(), jetstream.WithPurgeSubject("$O.ARGS.C."+info.NUID), jetstream.WithPurgeKeep(1))
		}, ledger.ErrPayloadMissing},
	} {
		got := submit(t, env.Ledger, request("echo", argsOf(overInline, name)))
		j, err := env.Ledger.Fold(t.Context(), sceneOrg, got.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.damage(j.Spec.ArgsRef.Name); err != nil {
			t.Fatal(err)
		}
		if _, err := env.Ledger.Args(t.Context(), j); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	wantProblems(t, verifyFull(t, env), map[string]int{"payload": 4})
	env.SkipVerify()
}

func verifyFull(t *testing.T, env *ledgertest.Env) *ledger.Verdict {
	t.Helper()
	v, err := ledger.Verify(t.Context(), ledger.VerifyConfig{Ledger: env.NewLedger(), Full: true})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// DESIGN D13: what has left LEDGER for the archive still names its payload; the collector does not touch what is
// older than the ledger's beginning.
func TestCollectorSparesArchived(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	got := submit(t, env.Ledger, request("echo", argsOf(overInline, "old")))
	last := submit(t, env.Ledger, request("echo", argsOf(100, "new")))
	stream, err := env.Ledger.JetStream().Stream(t.Context(), ledger.StreamLedger)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(uint64(last.Seq))); err != nil {
		t.Fatal(err)
	}
	if c := collect(t, env); c.Judged != 1 || c.Removed != 0 {
		t.Errorf("collected %+v: the args of %s are gone", c, got.ID)
	}
	env.SkipVerify()
}

// A look costs what is new: what was judged is not judged again, also beside what is too young.
func TestCollectorJudgesOnce(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	c, err := ledger.NewCollector(ledger.CollectorConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), Grace: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	for look, jobs := range []int{0, 2, 0, 1} {
		for i := range jobs {
			submit(t, env.Ledger, request("echo", argsOf(overInline, fmt.Sprint(look, i))))
		}
		if got, err := c.Look(t.Context()); err != nil || got.Judged != jobs || got.Removed != 0 {
			t.Errorf("look %d: %+v, %v; want %d judged", look, got, err, jobs)
		}
	}
	young, err := ledger.NewCollector(ledger.CollectorConfig{Ledger: env.NewLedger(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := young.Look(t.Context()); err != nil || got.Judged != 0 {
		t.Errorf("%+v, %v; nothing is older than the grace", got, err)
	}
}
