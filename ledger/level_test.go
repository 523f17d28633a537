package ledger_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// level is what LEDGER's metadata says.
func level(t *testing.T, l *ledger.Ledger) string {
	t.Helper()
	s, err := l.JetStream().Stream(t.Context(), ledger.StreamLedger)
	if err != nil {
		t.Error(err)
		return ""
	}
	return s.CachedInfo().Config.Metadata["jobledger.level"]
}

func setLevel(t *testing.T, l *ledger.Ledger, to string) {
	t.Helper()
	s, err := l.JetStream().Stream(t.Context(), ledger.StreamLedger)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.Metadata = maps.Clone(c.Metadata)
	if c.Metadata["jobledger.level"] = to; to == "" {
		delete(c.Metadata, "jobledger.level")
	}
	if _, err := l.JetStream().UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// A ledger that newer programs use in a way that this one does not know is refused: by who starts, and by who submits
// and works already, as soon as they look again (DESIGN D13, R-110).
func TestLevelOfNewerPrograms(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	submitHello := func(l *ledger.Ledger) error {
		_, err := l.Submit(t.Context(), ledger.SubmitRequest{Org: "acme", Type: "hello", RegisterUnknown: true})
		return err
	}
	if err := submitHello(env.Ledger); err != nil {
		t.Fatal(err)
	}
	for _, newer := range []string{"2", "97", "next"} {
		setLevel(t, env.Ledger, newer)
		end, err := env.Ledger.End(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		refused := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, ledger.ErrTooOld) || ledger.AsError(err).Code != ledger.CodeUnavailable ||
				!strings.Contains(err.Error(), newer) || !strings.Contains(err.Error(), "Use the version that the cell's servers run") {
				t.Errorf("level %s, %s: %v, want a refusal that says what to do", newer, what, err)
			}
		}
		fresh := env.NewLedger()
		_, err = ledger.Provision(t.Context(), fresh, ledger.ProvisionConfig{HotWindow: time.Hour})
		refused("provision", err)
		refused("check", fresh.Check(t.Context()))
		refused("submit", submitHello(fresh))
		env.Ledger.ForgetLevel() // a minute is over
		refused("submit by one who goes on", submitHello(env.Ledger))
		refused("submit again", submitHello(env.Ledger))
		refused("watch", env.Ledger.WatchLevel(t.Context()))
		if now, err := fresh.End(t.Context()); err != nil || now != end {
			t.Errorf("level %s: the ledger was written to: %v after %v, %v", newer, now, end, err)
		}
		setLevel(t, env.Ledger, "1")
		env.Ledger.ForgetLevel()
		if err := submitHello(env.Ledger); err != nil {
			t.Errorf("with level 1 again: %v", err)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := env.Ledger.WatchLevel(ended); err != nil {
		t.Errorf("watch: %v", err)
	}
}

// The level is raised when a hot window is set, also where one was set before there were levels, and stays when it is
// turned off: what is in the archive stays there (DESIGN D13).
func TestLevelOfAHotWindow(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	provision := func(hot time.Duration, want string) {
		t.Helper()
		if _, err := ledger.Provision(t.Context(), env.Ledger, ledger.ProvisionConfig{HotWindow: hot}); err != nil {
			t.Fatal(err)
		}
		if got := level(t, env.Ledger); got != want {
			t.Errorf("with hot window %s the level is %q, want %q", hot, got, want)
		}
	}
	provision(0, "")
	provision(time.Hour, "1")
	provision(ledger.HotNever, "1")
	provision(time.Hour, "1")
	setLevel(t, env.Ledger, "")
	provision(0, "1")
}

// The archiver raises the level before anything leaves, without a hot window too (DESIGN D13).
func TestLevelOfTheArchiver(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 1)
	a := c.archiver(small(50))
	a.At(func(step string) error {
		if got := level(t, c.Ledger); got != "1" {
			t.Errorf("before step %s the level is %q", step, got)
		}
		return nil
	})
	if got := level(t, c.Ledger); got != "" {
		t.Errorf("the level is %q before anything leaves", got)
	}
	c.leave(a)
	c.check(c.Ledger)
}
