//go:build browser

package console_test

import (
	"fmt"
	"strings"
	"testing"
)

// setting is how a thing of the cell stands, as far as these tests look.
type setting struct {
	Reason  string
	Paused  bool
	Enabled *bool
	State   string
	Holds   []struct{ Reason string }
	Limits  struct {
		MaxRunning int `json:"max_running"`
	}
	MaxAttempts int    `json:"max_attempts"`
	Weight      int    `json:"weight"`
	Cron        string `json:"cron"`
}

func (s *site) at(path string) (v setting) {
	s.t.Helper()
	s.call("GET", path, "", &v)
	return v
}

// cellSeed has something on every page of the cell.
func (s *site) cellSeed() {
	s.t.Helper()
	for _, c := range [][3]string{
		{"POST", "orgs", `{"name":"acme","set":{"weight":3},"reason":"plan business"}`},
		{"PATCH", "queues/mail", `{"set":{"max_running":20},"new":true,"reason":"its own class"}`},
		{"PUT", "types/letter", `{"name":"letter","queue":"mail","description":"writes a letter"}`},
		{"PUT", "orgs/acme/schedules/nightly", `{"type":"letter","args":{"n":9007199254740993},"cron":"30 3 * * 1-5","tz":"Europe/Berlin","description":"letters of the day"}`},
		{"POST", "orgs/acme/tokens", `{"title":"ci","role":"operator","reason":"deploys"}`},
		{"POST", "orgs/acme/jobs", `{"type":"letter"}`},
	} {
		s.call(c[0], c[1], c[2], nil)
	}
}

// TestCellPages looks at every page of the cell in both themes and on a telephone: nothing is wider than the screen, and each has
// what it is for.
func TestCellPages(t *testing.T) {
	s := dev(t)
	s.cellSeed()
	b := open(t, s.URL+"/o/acme/queues")
	for _, p := range []struct{ path, selector, shows string }{
		{"queues", "td", "mail"}, {"queues/mail", ".facts", "20"}, {"types", "td", "letter"}, {"types/letter", ".facts", "mail"}, {"workers", ".empty", "worker"},
		{"schedules", "td", "every weekday at 03:30"}, {"schedules/nightly", ".json", "9007199254740993"}, {"organizations", "td", "acme"}, {"organizations/acme", ".facts", "plan business"},
		{"tokens", "td", "api_key:ci"}, {"activity", "td", "user:ada"}, {"activity?in=cell", "td", "token set"},
	} {
		for _, look := range []struct {
			name, theme string
			width       int64
		}{{"light", "light", 1280}, {"dark", "dark", 1280}, {"phone", "light", 360}} {
			b.theme(look.theme)
			b.size(look.width, 800)
			b.visit(s.URL + "/o/acme/" + p.path)
			b.shows(p.selector, p.shows)
			if wide := js[int64](b, "document.documentElement.scrollWidth"); wide > look.width {
				t.Errorf("%s is %d wide on a screen of %d", p.path, wide, look.width)
			}
			if over := b.overlaps(); over != "" {
				t.Errorf("%s, %s: cells that lie on their neighbours: %s", p.path, look.name, over)
			}
			if unnamed := js[string](b, `[...document.querySelectorAll("main button, main input, main select, main a")].filter((e) => !(e.innerText.trim() || e.ariaLabel || e.labels?.length)).map((e) => e.outerHTML).join()`); unnamed != "" {
				t.Errorf("%s has controls without a name: %s", p.path, unnamed)
			}
			b.shoot("cell-" + strings.NewReplacer("/", "-", "?", "-").Replace(p.path) + "-" + look.name)
		}
	}
}

// TestCellActions shows that what is changed on these pages stands in the ledger, with its reason.
func TestCellActions(t *testing.T) {
	s := dev(t)
	s.cellSeed()
	t.Run("queue", func(t *testing.T) {
		b := open(t, s.URL+"/o/acme/queues/mail")
		b.click(".page-head .actions button", "Change limits")
		b.confirmRefused("nothing to do", "Nothing was changed")
		b.fill("dialog input[name=max_running]", "many")
		b.confirmRefused("a slip", "no whole number")
		b.fill("dialog input[name=max_running]", "7")
		b.confirm("the printer is slow")
		b.shows(".facts", "the printer is slow")
		if q := s.at("queues/mail"); q.Limits.MaxRunning != 7 || q.Reason != "the printer is slow" {
			t.Errorf("%+v", q)
		}
		b.click(".page-head .actions button", "Pause")
		b.confirm("no paper")
		b.shows(".notes", "no paper")
		if q := s.at("queues/mail"); !q.Paused || len(q.Holds) != 1 || q.Holds[0].Reason != "no paper" {
			t.Errorf("%+v", q)
		}
		b.click(".notes button", "Resume")
		b.confirm("paper is there")
		b.until("document.querySelector('.notes') === null")
		if q := s.at("queues/mail"); q.Paused {
			t.Errorf("%+v", q)
		}
	})
	t.Run("type", func(t *testing.T) {
		b := open(t, s.URL+"/o/acme/types/letter")
		b.click(".page-head .actions button", "Disable")
		b.confirm("its code is broken")
		b.shows(".badge", "disabled")
		if v := s.at("types/letter"); v.Enabled == nil || *v.Enabled || v.Reason != "its code is broken" {
			t.Errorf("%+v", v)
		}
		b.click(".page-head .actions button", "Enable")
		b.confirm("mended")
		b.shows(".badge", "enabled")
		b.click(".page-head .actions button", "Change policy")
		b.fill("dialog input[name=max_attempts]", "9")
		b.confirm("it is a bad line")
		b.shows(".facts", "it is a bad line")
		if v := s.at("types/letter"); v.MaxAttempts != 9 {
			t.Errorf("%+v", v)
		}
	})
	t.Run("organization", func(t *testing.T) {
		b := open(t, s.URL+"/o/acme/organizations/acme")
		b.click(".page-head .actions button", "Suspend")
		b.confirm("invoice 4711")
		b.shows(".badge", "suspended")
		if v := s.at("orgs/acme"); v.State != "suspended" || v.Reason != "invoice 4711" {
			t.Errorf("%+v", v)
		}
		b.click(".page-head .actions button", "Resume")
		b.confirm("paid")
		b.shows(".badge", "active")
		b.click(".page-head .actions button", "Change share")
		b.fill("dialog input[name=weight]", "5")
		b.confirm("a larger plan")
		b.shows(".facts", "a larger plan")
		if v := s.at("orgs/acme"); v.Weight != 5 {
			t.Errorf("%+v", v)
		}
	})
	t.Run("new", func(t *testing.T) {
		b := open(t, s.URL+"/o/acme/organizations")
		b.click(".page-head .actions button", "New organization")
		b.fill("dialog input[name=name]", "umbrella")
		b.fill("dialog input[name=weight]", "2")
		b.fill("dialog input[name=submit_rate]", "100 a minute")
		b.confirmRefused("they pay", "is no rate")
		b.fill("dialog input[name=submit_rate]", "100/1m")
		b.confirm("they pay")
		b.shows("td", "umbrella")
		if v := s.at("orgs/umbrella"); v.Weight != 2 || v.Reason != "they pay" {
			t.Errorf("%+v", v)
		}
		b.visit(s.URL + "/o/acme/types")
		b.click(".page-head .actions button", "New type")
		b.fill("dialog input[name=name]", "fax")
		b.fill("dialog input[name=max_attempts]", "4")
		b.confirm("we have a machine now")
		b.shows("td", "fax")
		if v := s.at("types/fax"); v.MaxAttempts != 4 {
			t.Errorf("%+v", v)
		}
	})
	t.Run("schedule", func(t *testing.T) { s.schedules(t) })
	t.Run("token", func(t *testing.T) { s.tokens(t) })
}

// confirmRefused gives a reason and is told why that does not do.
func (b *tab) confirmRefused(reason, why string) {
	b.t.Helper()
	b.fill("dialog[open] input[name=reason]", reason)
	b.click("dialog[open] .dialog-foot button.primary", "")
	b.shows("dialog[open] .wrong-text", why)
}

// schedules edits one, keeps its args digit for digit, runs it, and backfills it.
func (s *site) schedules(t *testing.T) {
	b := open(t, s.URL+"/o/acme/schedules/nightly")
	b.click(".page-head .actions button", "Edit")
	b.fill("dialog input[name=cron]", "0 6,18 1 * *")
	b.shows("dialog .help", "on the 1st of every month at 06:00 and 18:00")
	b.confirm("twice a month")
	b.shows(".big", "on the 1st of every month")
	b.shows(".json", "9007199254740993")
	if v := s.at("orgs/acme/schedules/nightly"); v.Cron != "0 6,18 1 * *" || v.Reason != "twice a month" {
		t.Errorf("%+v", v)
	}
	b.click(".page-head .actions button", "Pause")
	b.confirm("holidays")
	b.shows(".badge", "paused")
	b.click(".page-head .actions button", "Resume")
	b.confirm("they are over")
	b.shows(".badge", "on")
	b.click(".page-head .actions button", "Backfill")
	b.fill("dialog input[name=from]", "2026-01-15T00:00")
	b.fill("dialog input[name=to]", "2026-02-15T00:00")
	b.click("dialog[open] .dialog-foot button.primary", "Count first")
	b.shows("dialog[open] .dialog-foot", "Submit 2 jobs")
	b.confirm("they were forgotten")
	b.shows(".toast", "2 submitted")
	b.click(".page-head .actions button", "Run now")
	b.confirm("now, please")
	b.until("location.pathname.includes('/o/acme/jobs/')")
	if b.job() == "" {
		t.Error("it led to no job")
	}
}

// tokens makes one, whose secret opens what it should and is shown once, and revokes it.
func (s *site) tokens(t *testing.T) {
	b := open(t, s.URL+"/o/acme/tokens")
	b.click(".page-head .actions button", "New token")
	b.fill("dialog input[name=title]", "deploy")
	b.fill("dialog select[name=role]", "auditor")
	b.fill("dialog[open] input[name=reason]", "an audit")
	b.click("dialog[open] .dialog-foot button.primary", "Make the token")
	b.shows("dialog[open] .secret", "jl_")
	secret := js[string](b, "document.querySelector('dialog[open] .secret span').innerText")
	b.click("dialog[open] .dialog-foot button.primary", "I have kept it")
	b.shows("td", "api_key:deploy")
	if shown := js[string](b, "document.documentElement.outerHTML"); strings.Contains(shown, secret) {
		t.Error("the secret is still in the page")
	}
	who := fmt.Sprintf(`fetch(new URL("v1/me", document.baseURI), {headers: {Authorization: "Bearer %s"}}).then((r) => r.json()).then((m) => m.role ?? m.error.code)`, secret)
	if role := js[string](b, who); role != "auditor" {
		t.Errorf("the token is of a %s", role)
	}
	js[bool](b, `([...document.querySelectorAll("tr")].find((r) => r.innerText.includes("api_key:deploy")).querySelector("button").click(), true)`)
	b.confirm("the audit is over")
	b.shows("tr.gone", "revoked")
}
