package gateway_test

import (
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// who follows notices is told each end of a job, and nothing else of jobs; who follows an org is told once that it
// is at a limit, and that its open dead letters have come to be many, with what most of them died of.
func TestLiveAlerts(t *testing.T) {
	w := start(t)
	follow := func(r gateway.LiveRequest) *gateway.Subscription {
		t.Helper()
		s, err := w.g.Live().Subscribe(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	var mine *gateway.Subscription
	next := func(s *gateway.Subscription, push gateway.Push) (found *gateway.LiveEvent, ends int) {
		t.Helper()
		for {
			events, err := s.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range events {
				switch ev.Push {
				case push:
					found = ev
				case gateway.PushDeadLetters:
					if s == mine {
						t.Fatal("who follows some of the jobs hears of dead letters of others")
					}
				case gateway.PushFinished:
					ends++
				case gateway.PushStatus, gateway.PushProgress:
					if push != gateway.PushStatus {
						t.Fatalf("told of %s to %v", ev.Event, ev.To)
					}
				}
			}
			if found != nil {
				return found, ends
			}
		}
	}
	notices := follow(gateway.LiveRequest{Org: "acme", Notices: true})
	mine = follow(gateway.LiveRequest{Org: "acme", Notices: true, Visible: func(*ledger.Record) bool { return false }})
	done := w.submitDone()
	end, _ := next(notices, gateway.PushFinished)
	if string(*end.ID) != done || *end.To != schemas.StateCompleted || end.Result == nil || *end.Result != "/v1/orgs/acme/jobs/"+done+"/result" {
		t.Errorf("an end: %+v", end)
	}
	for range gateway.DeadLettersAlert {
		w.submitDead()
	}
	dead, ends := next(notices, gateway.PushDeadLetters)
	if a := dead.Alert; *dead.Org != "acme" || dead.Seq != nil || a.Used < gateway.DeadLettersAlert || a.Limit != gateway.DeadLettersAlert ||
		a.Largest == nil || a.Largest.Count != int(a.Used) || a.Largest.Message != "broken <n>" {
		t.Errorf("dead letters: %+v", dead.Alert)
	}
	if ends != gateway.DeadLettersAlert {
		t.Errorf("%d ends are told", ends)
	}

	set := &schemas.QueueSet{Settings: schemas.QueueSettings{Name: "narrow", MaxWaitingPerOrg: 1}, Reason: "a test"}
	if _, err := w.Ledger.Put(t.Context(), ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil }); err != nil {
		t.Fatal(err)
	}
	full := 0
	for full < 3 { // the settings are a second old at most
		_, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Queue: "narrow", NoDedup: true})
		if code(err) == ledger.CodeQueueFull {
			full++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*gateway.Subscription{notices, mine} {
		limit, _ := next(s, gateway.PushLimit)
		if a := limit.Alert; *limit.Org != "acme" || a.Queue == nil || *a.Queue != "narrow" || a.Limit != 1 || a.Used < 1 || a.Code != ledger.CodeQueueFull {
			t.Errorf("a limit: %+v", a)
		}
	}
}
