package cell_test

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/internal/metrics"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// withHTTP has a server serve HTTP, and returns where.
func withHTTP(t *testing.T) (func(*cell.Config), string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return func(c *cell.Config) {
		c.HTTP = cell.HTTP{Listener: l, Build: metrics.Build{Version: "1.2.3", NATSVersion: "9"}}
	}, "http://" + l.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

// shows reports whether a scrape has a line.
func shows(t *testing.T, url, line string) bool {
	_, body := get(t, url+"/metrics")
	return strings.Contains("\n"+body, "\n"+line+"\n")
}

// A server's metrics tell what its jobs did, and how they stand; it says that it is ready. A standby
// counts the same, and says that it does not lead. What was before their start they do not count, but know to wait.
func TestObserved(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	c := env.Client("acme")
	before := env.RunServer()
	first := submit(t, c, 0)
	before.Stop()
	serve, leads := withHTTP(t)
	env.RunServer(serve, func(c *cell.Config) {
		c.IndexDir = t.TempDir()
		c.HTTP.Orgs, _ = metrics.ParseOrgLabel("top:3")
	})
	until(t, "a leader", func() bool { return shows(t, leads, "jobledger_dispatcher_leader 1") })
	other, stands := withHTTP(t)
	env.RunServer(other)
	until(t, "a job that nobody serves", func() bool { return shows(t, leads, `jobledger_jobs_unserved{queue="default",type="echo"} 1`) })
	if !shows(t, leads, `jobledger_queue_depth{priority="normal",queue="default"} 1`) {
		t.Error("the queue's depth is not told")
	}
	until(t, "since when it waits", func() bool {
		_, body := get(t, leads+"/metrics")
		return strings.Contains(body, "\njobledger_queue_oldest_age_seconds{priority=\"normal\",queue=\"default\"} ")
	})
	work(t, env)
	finish(t, c, first, time.Minute)
	for i := range 2 {
		finish(t, c, submit(t, c, i+1), time.Minute)
	}
	until(t, "the worker", func() bool { return shows(t, leads, `jobledger_workers{queue="default",type="echo"} 1`) })
	if !shows(t, leads, `jobledger_worker_slots{queue="default"} 8`) {
		t.Error("the worker's slots are not told")
	}
	for _, url := range []string{leads, stands} {
		for _, line := range []string{
			`jobledger_jobs_submitted_total{priority="normal",queue="default",result="accepted",type="echo"} 2`,
			`jobledger_jobs_finished_total{queue="default",state="completed",type="echo"} 3`,
			`jobledger_attempts_finished_total{error_class="",outcome="completed",queue="default",type="echo"} 3`,
			`jobledger_job_wait_seconds_count{priority="normal",queue="default"} 2`, // of the other nobody knows,
			`jobledger_build_info{go_version="",nats_version="9",revision="",version="1.2.3"} 1`,
			`jobledger_projection_lag_events{projection="dispatcher"} 0`,
		} {
			until(t, line, func() bool { return shows(t, url, line) })
		}
	}
	until(t, "an index that is not behind", func() bool { return shows(t, leads, `jobledger_projection_lag_events{projection="index"} 0`) })
	until(t, "the jobs that have ended", func() bool { return shows(t, leads, `jobledger_jobs{queue="default",state="completed"} 3`) })
	for _, line := range []string{`jobledger_org_jobs{org="acme",queue="default",state="completed"} 3`, `jobledger_org_attempts_total{org="acme",outcome="completed"} 3`,
		`jobledger_limited_total{limit="waiting"} 0`, `jobledger_schedule_missed_total 0`, `jobledger_append_conflicts_total{event="type_set"} 0`} {
		until(t, line, func() bool { return shows(t, leads, line) })
	}
	if shows(t, leads, `jobledger_appends_total{event="queued",outcome="stored"} 0`) || shows(t, leads, `jobledger_append_seconds_count{event="queued"} 0`) {
		t.Error("the dispatcher's appends are not told")
	}
	follow(t, c)
	until(t, "what followers were told", func() bool {
		return !shows(t, leads, `jobledger_live_delivered_total{transport="nats"} 0`) || !shows(t, stands, `jobledger_live_delivered_total{transport="nats"} 0`)
	})
	until(t, "open dead letters", func() bool { return shows(t, leads, `jobledger_dead_letters_open{queue="default"} 0`) })
	until(t, "the ledger's size", func() bool {
		_, body := get(t, leads+"/metrics")
		return strings.Contains(body, "\njobledger_ledger_bytes ")
	})
	get(t, leads+"/v1/openapi.json")
	until(t, "a request", func() bool {
		return shows(t, leads, `jobledger_http_request_duration_seconds_count{code="200",method="GET",route="/v1/openapi.json"} 1`)
	})
	if !shows(t, stands, "jobledger_dispatcher_leader 0") {
		t.Error("the standby does not say that it does not lead")
	}
	if _, body := get(t, stands+"/metrics"); strings.Contains(body, "jobledger_jobs{") {
		t.Error("a standby tells what only the leader knows")
	}
	for _, url := range []string{leads, stands} {
		until(t, "ready", func() bool { status, _ := get(t, url+"/readyz"); return status == http.StatusOK })
	}
}

// follow hears of one event of the past.
func follow(t *testing.T, c *gateway.Client) {
	t.Helper()
	enough := errors.New("enough")
	if err := c.Watch(t.Context(), gateway.WatchRequest{After: schemas.Position{Seq: 1}}, func(*gateway.LiveEvent) error { return enough }); !errors.Is(err, enough) {
		t.Fatal(err)
	}
}

// A server whose JetStream is away says so, and lives.
func TestNotReady(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	serve, url := withHTTP(t)
	env.RunServer(serve)
	until(t, "ready", func() bool { status, _ := get(t, url+"/readyz"); return status == http.StatusOK })
	env.Stop()
	until(t, "not ready", func() bool {
		status, body := get(t, url+"/readyz")
		var why struct{ Reasons []string }
		if err := json.Unmarshal([]byte(body), &why); err != nil {
			t.Fatal(err)
		}
		return status == http.StatusServiceUnavailable && len(why.Reasons) > 0 && strings.HasPrefix(why.Reasons[0], "jetstream: ")
	})
	if status, _ := get(t, url+"/healthz"); status != http.StatusOK {
		t.Errorf("it does not live: %d", status)
	}
	env.StartServer()
	until(t, "ready again", func() bool { status, _ := get(t, url+"/readyz"); return status == http.StatusOK })
}
