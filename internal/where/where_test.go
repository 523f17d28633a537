package where

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// what a text says, in its canonical form.
func TestCanonical(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{" \t\n ", ""},
		{`state:dead_lettered type:email-* queue:bulk,critical error:"connection refused" -tag.env:test submitted:>1h`,
			`state:dead_lettered type:email-* queue:bulk,critical error:"connection refused" -tag.env:test submitted:>1h`},
		{"  type:a \n type:b  ", "type:a type:b"},
		{`type:"email-send"`, "type:email-send"},
		{`type:"email"*`, "type:email*"},
		{`type:a,"a",a*,a`, "type:a,a*"},
		{`error:"Say \"NO\" to C:\\*"`, `error:"say \"no\" to c:\\*"`},
		{`error:NO*`, "error:no*"},
		{`owner:*`, "owner:*"},
		{`owner:""*`, "owner:*"},
		{`-finished:*`, "-finished:*"},
		{`owner:user:ada`, "owner:user:ada"},
		{`owner:"<x"`, `owner:"<x"`},
		{`tag.env:"",x`, `tag.env:"",x`},
		{"tag.a-b_9:x", "tag.a-b_9:x"},
		{"attempt:3,>5,7..9,<=1", "attempt:3,>5,7..9,<=1"},
		{"attempt:2..2", "attempt:2"},
		{"attempt:2..", "attempt:>=2"},
		{"attempt:..2", "attempt:<=2"},
		{"submitted:<90m", "submitted:<1h30m"},
		{"submitted:1w..14d", "submitted:7d..14d"},
		{"submitted:>=36h1500ms", "submitted:>=1d12h1s500ms"},
		{"submitted:<0s", "submitted:<0s"},
		{"finished:2026-11-01T02:00:00+02:00..2026-11-02t00:00:00.5z", "finished:2026-11-01T00:00:00Z..2026-11-02T00:00:00.5Z"},
		{"org:acme id:0193*", "org:acme id:0193*"},
		{`args.user.id:4711 -args:"Ada L" result.ok:"true"`, `args.user.id:4711 -args:"ada l" result.ok:true`},
		{"reason:poison,exp*", "reason:poison,exp*"},
		{`error:"ünï"`, "error:ünï"},
	} {
		w, err := Parse(c.text)
		if have := w.String(); err != nil || have != c.want {
			t.Errorf("%s: %s, %v; want %s", c.text, have, err, c.want)
		}
		again, err := Parse(w.String())
		if err != nil || again.String() != w.String() {
			t.Errorf("%s: its form is read as %s, %v", c.text, again.String(), err)
		}
	}
}

// A slip is refused with its place and with what to write instead.
func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		text string
		at   int
		want string
	}{
		{"stat:running", 0, `unknown field "stat", did you mean state?`},
		{"type:a sumbitted:<1h", 7, "did you mean submitted?"},
		{"STATE:running", 0, "did you mean"},
		{"status:running", 0, "did you mean state?"},
		{"colour:red", 0, "use state, reason, type,"},
		{"args.:4711", 0, "a name is missing"},
		{"-result.a..b:1", 0, "a name is missing"},
		{"args.a:>3", 0, "has no order"},
		{"args:", 0, "-args:* chooses jobs that have none"},
		{"tag:env", 0, "tag.env:test"},
		{"tag.a/b:x", 0, "only A-Z"},
		{"tag.:x", 0, "tag is empty"},
		{"timeout", 0, "write FIELD:VALUE, such as type:timeout"},
		{"type:a OR type:b", 7, "such as type:OR"},
		{`"x y"`, 0, "names no field"},
		{":x", 0, `unknown field ""`},
		{"-", 0, "names no field"},
		{"state:runing", 0, `unknown state "runing", did you mean running?`},
		{"state:broken", 0, "use submitted, queued"},
		{"state:x*", 0, `no state begins with "x"`},
		{"priority:urgent", 0, "use low, normal, high, critical"},
		{"class:fatal", 0, "use transient,"},
		{"resolution:all", 0, "use open, resolved, ignored"},
		{"reason:paused", 0, "unknown reason"},
		{"type:", 0, "-type:* chooses jobs that have none"},
		{"type:a,", 0, "a value is empty"},
		{`owner:""`, 0, "a value is empty"},
		{"type:a*b", 0, "at the end of a value only"},
		{"type:**", 0, "at the end of a value only"},
		{`type:a\b`, 0, `with \ in quotes`},
		{`error:"no end`, 0, "not closed"},
		{`error:"a\n"`, 0, `\n means nothing`},
		{`error:"a"b`, 0, "leave a blank between terms"},
		{`error:a"b"`, 0, "put the whole value in quotes"},
		{"type:>a", 0, "has no order"},
		{"attempt:x", 0, "not a whole number"},
		{"attempt:-1", 0, "not a whole number"},
		{"attempt:1*", 0, "write a range"},
		{`attempt:"1"`, 0, "without quotes"},
		{"attempt:5..2", 0, "write 2..5"},
		{"attempt:=2", 0, "= is unknown"},
		{"attempt:>", 0, "nothing follows"},
		{"attempt:..", 0, "needs an end"},
		{"attempt:", 0, "a value is empty"},
		{"submitted:1h", 0, "write submitted:<1h or submitted:>1h"},
		{"submitted:yesterday", 0, "neither an age"},
		{"submitted:>1y", 0, "neither an age"},
		{"submitted:>99999999999w", 0, "neither an age"},
		{"submitted:>2026-11-01", 0, "write 2026-11-01T00:00:00Z"},
		{"submitted:>0999-11-01T00:00:00Z", 0, "1970 to 2200"},
		{"submitted:1h..2026-11-01T00:00:00Z", 0, "both as ages"},
		{"submitted:7d..1d", 0, "write 1d..7d"},
		{strings.Repeat("type:a ", TermsMax+1), 7 * TermsMax, "more than 32 terms"},
		{"type:a" + strings.Repeat(",a", ValuesMax-1) + "b,c", -1, ""},
		{"id:" + ids(ValuesMax+1), 0, "more than 100 values"},
		{"type:" + strings.Repeat("a", TextMax), 0, "at most 4096 are read"},
		{"type:\xff", 0, "not UTF-8"},
	} {
		_, err := Parse(c.text)
		var e *Error
		switch {
		case c.at < 0:
			if err != nil {
				t.Errorf("%.60s: %v", c.text, err)
			}
		case !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || e.At != c.at:
			t.Errorf("%.60s: %v; want %q at %d", c.text, err, c.want, c.at)
		}
	}
	_, err := Parse("type:a stat:running")
	if want := `at 8, in stat:running: unknown field "stat", did you mean state?`; err == nil || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
}

func ids(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(string(rune('a'+i/26)) + string(rune('a'+i%26)))
	}
	return b.String()
}

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

// What the terms choose.
func TestMatch(t *testing.T) {
	r := ledger.Record{ID: "0193-a", Org: "acme", Type: "email-send", Queue: "bulk", State: schemas.StateDeadLettered, Reason: ptr("poison"),
		Priority: schemas.PriorityHigh, Attempt: 3, SubmittedAt: now.Add(-2 * time.Hour), FinishedAt: ptr(now.Add(-time.Minute)),
		Owner: ptr("user:ada"), Tags: map[string]string{"env": "test", "empty": ""}, Batch: ptr("b1"),
		Parents:    []ledger.RecordParent{{ParentRef: schemas.ParentRef{ID: "load"}}, {ParentRef: schemas.ParentRef{ID: "check"}}},
		Error:      &ledger.RecordError{Class: schemas.ClassTimeout, Message: "Dial 10.0.0.7: Connection refused"},
		Resolution: &ledger.RecordResolution{State: schemas.ResolutionOpen},
		Args:       []byte(`{"user":{"id":4711,"name":"Ada \"L\""},"to":["x@a","y@b"],"ok":true,"none":null,"cut":"of`)}
	bare := ledger.Record{ID: "x", Type: "report", Queue: "default", State: schemas.StateSubmitted, SubmittedAt: now, NotBefore: ptr(now.Add(time.Hour))}
	for _, c := range []struct {
		text       string
		full, none bool // whether it chooses r, and bare
	}{
		{"", true, true},
		{"state:dead_lettered", true, false},
		{"-state:dead_lettered", false, true},
		{"state:dead*", true, false},
		{"reason:poison", true, false},
		{"reason:scheduled", false, true},
		{"reason:*", true, true},
		{"type:email-*,report", true, true},
		{"type:email", false, false},
		{"queue:bulk type:email-send", true, false},
		{"queue:bulk type:report", false, false},
		{"priority:high", true, false},
		{"owner:user:ada", true, false},
		{"-owner:*", false, true},
		{"tag.env:test", true, false},
		{"tag.env:*", true, false},
		{"-tag.env:prod", true, true},
		{`tag.empty:""`, true, false},
		{"batch:b1", true, false},
		{"parent:check", true, false},
		{"parent:b1", true, false},
		{"parent:che*,none", true, false},
		{"parent:chec", false, false},
		{"-parent:*", false, true},
		{"-parent:load", false, true},
		{`error:"CONNECTION REFUSED"`, true, false},
		{"error:dial*", true, false},
		{"error:connection*", false, false},
		{"-error:*", false, true},
		{"class:timeout,lost", true, false},
		{"group:" + GroupOf(&r).Key(), true, false},
		{"-group:000000000000", true, true},
		{"resolution:open", true, false},
		{"id:0193*", true, false},
		{"org:acme", true, false},
		{"args.user.id:4711", true, false},
		{"args.user.id:47*", true, false},
		{"args.user.id:471", false, false},
		{"args.id:4711", false, false},
		{`args.user.name:"Ada \"L\""`, true, false},
		{"args.user:*", false, false},
		{"args.to:y@b,z", true, false},
		{"args.ok:true args.none:null", true, false},
		{"args:ADA", true, false},
		{"args:a*", true, false},
		{"-args.user.id:*", false, true},
		{"args.cut:*", false, false},
		{"result:*", false, false},
		{"attempt:3", true, false},
		{"attempt:<3", false, true},
		{"attempt:>=3", true, false},
		{"attempt:0,2..5", true, true},
		{"submitted:>1h", true, false},
		{"submitted:<1h", false, true},
		{"submitted:>=2h", true, false},
		{"submitted:>2h", false, false},
		{"submitted:1h..2h", true, false},
		{"submitted:>2026-11-26T10:00:00Z", false, true},
		{"submitted:>=2026-11-26T10:00:00Z", true, true},
		{"submitted:2026-11-26T09:00:00Z..2026-11-26T11:00:00Z", true, false},
		{"finished:<5m", true, false},
		{"-finished:*", false, true},
		{"-finished:<5m", false, true},
	} {
		w, err := Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if full, none := w.Match(&r, now), w.Match(&bare, now); full != c.full || none != c.none {
			t.Errorf("%s: %v and %v; want %v and %v", c.text, full, none, c.full, c.none)
		}
	}
}

// Whatever text is read says the same in its canonical form, and nothing panics.
func FuzzParse(f *testing.F) {
	for _, text := range []string{`state:dead_lettered type:email-* -tag.env:test,"" submitted:>1h`, `error:"a\"b"* attempt:1,2..3`,
		"finished:2026-11-01T02:00:00+02:00..", "type:a*b", "\xff", `a:"`, "-"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(w.String())
		if err != nil {
			t.Fatalf("%q: its form %q is refused: %v", text, w.String(), err)
		}
		if !same(&w, &again) {
			t.Fatalf("%q: its form %q is read as %q", text, w.String(), again.String())
		}
		w.Match(&ledger.Record{Tags: map[string]string{"env": "test"}}, now)
	})
}
