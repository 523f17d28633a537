package ledger_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/internal/packs"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// keeper answers as a server does that keeps an index of an empty ledger; rows, if set, is what it says of its rows.
type keeper struct {
	name string
	mu   sync.Mutex
	deaf int // it hears none of so many questions from now on
	rows any
}

func (k *keeper) answer(ask *ledger.IndexAsk) any {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case ask.Server == "" && k.deaf > 0:
		k.deaf--
		return nil
	case ask.Server == "":
		return ledger.IndexState{Server: k.name, Serves: true}
	case ask.Server != k.name:
		return nil
	case k.rows != nil:
		return k.rows
	}
	return ledger.IndexPart{Last: true}
}

func (k *keeper) set(deaf int, rows any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deaf, k.rows = deaf, rows
}

// serve answers for all of them; the answers to one question are sent together, so that none is late.
func serve(t *testing.T, env *ledgertest.Env, keepers ...*keeper) {
	t.Helper()
	conn := env.NewLedger().Conn()
	sub, err := conn.Subscribe(ledger.SubjectIndex, func(m *nats.Msg) {
		var ask ledger.IndexAsk
		if err := json.Unmarshal(m.Data, &ask); err != nil {
			t.Error(err)
		}
		for _, k := range keepers {
			answer := k.answer(&ask)
			if answer == nil {
				continue
			}
			body, err := json.Marshal(answer)
			if err == nil {
				err = m.Respond(body)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() }) // the connection ends with the test
}

// verifyListing verifies until the verdict knows of n indexes: under load an answer may be late for all questions.
func verifyListing(t *testing.T, env *ledgertest.Env, n int, before func()) *ledger.Verdict {
	t.Helper()
	for limit := time.Now().Add(time.Minute); ; {
		before()
		v := verify(t, env, ledger.VerifyConfig{})
		if len(v.Indexes) == n {
			return v
		}
		if time.Now().After(limit) {
			t.Fatalf("%d indexes are listed, want %d", len(v.Indexes), n)
		}
	}
}

// where one server's index could not be checked, the indexes were not, and the verdict says which.
func TestVerifySaysWhichIndexWasNotChecked(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	other := &keeper{name: "b"}
	serve(t, env, &keeper{name: "a"}, other)
	for _, c := range []struct {
		name    string
		rows    any
		checked bool
	}{
		{"checked", nil, true},
		{"older version", ledger.IndexState{Server: "b", Serves: true}, false},
		{"cannot tell", ledger.IndexPart{Error: "it is telling others its rows"}, false},
	} {
		other.set(0, c.rows)
		v := verifyListing(t, env, 2, func() {})
		a, b := v.Indexes[0], v.Indexes[1]
		if !v.OK || !a.Checked || b.Server != "b" || b.Checked != c.checked || (b.Message == nil) != c.checked || (v.Problems.Index != nil) != c.checked {
			t.Errorf("%s: %+v, %+v, problems.index %v", c.name, a, b, v.Problems.Index)
		}
	}
}

// a server that misses a question is listed still.
func TestVerifyListsIndexesThatAnswerLate(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	late := &keeper{name: "b"}
	serve(t, env, &keeper{name: "a"}, late)
	if v := verifyListing(t, env, 2, func() { late.set(2, nil) }); v.Problems.Index == nil || !v.Indexes[1].Checked {
		t.Errorf("%+v, %+v", v.Indexes[1], v.Problems)
	}
}

// whatever of LEDGER a check reads in order, it reads slowly beside writers: the copies in ARCHIVE, the fold, and what an
// index should have that differs.
func TestVerifyIsPacedThroughout(t *testing.T) {
	t.Parallel()
	env := partlyArchived(t, false)
	at, err := env.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	serve(t, env, &keeper{name: "a", rows: ledger.IndexPart{Position: at, Last: true}}) // it has no row
	conn := env.NewLedger().Conn()
	made, err := conn.SubscribeSync("$JS.API.CONSUMER.CREATE." + ledger.StreamLedger + ".>")
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	cfg := ledger.VerifyConfig{Ledger: env.NewLedger()}
	cfg.Busy()
	for limit := time.Now().Add(time.Minute); ; {
		v, err := ledger.Verify(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if v.Problems.Index != nil && *v.Problems.Index > 0 {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("the index was not checked: %+v", v)
		}
	}
	if err := conn.Flush(); err != nil { // behind all that was asked
		t.Fatal(err)
	}
	asked, _, err := made.Pending()
	if err != nil {
		t.Fatal(err)
	}
	readers := 0
	for range asked {
		m, err := made.NextMsg(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		var ask struct {
			Config jetstream.ConsumerConfig `json:"config"`
		}
		if err := json.Unmarshal(m.Data, &ask); err != nil {
			t.Fatal(err)
		}
		if c := &ask.Config; strings.HasPrefix(c.Name, packs.Consumer) {
			if readers++; c.RateLimit != ledger.PaceBits {
				t.Errorf("a reader from sequence %d on takes %d bits a second, want %d", c.OptStartSeq, c.RateLimit, ledger.PaceBits)
			}
		}
	}
	if readers < 3 {
		t.Errorf("%d readers of %d consumers", readers, asked)
	}
}
