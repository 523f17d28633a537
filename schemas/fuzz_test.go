package schemas_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// FuzzSubject shows that a subject which is read is written as it was, and that its tokens are names.
func FuzzSubject(f *testing.F) {
	for _, s := range []string{"jobs.acme.x", "control.cell.type.echo", "control.acme.schedule.nightly", "jobs.acme", "jobs..x", "jobs.*.x", "jobs.acme.>", "control.", "jobs.acme.x.y", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := schemas.ParseSubject(text)
		if err != nil {
			return
		}
		if again := s.String(); again != text {
			t.Fatalf("%q is written as %q", text, again)
		}
		if s.Job != "" && (schemas.CheckToken("org", string(s.Org)) != nil || schemas.CheckToken("job id", string(s.Job)) != nil) {
			t.Fatalf("%q names org %q, job %q", text, s.Org, s.Job)
		}
	})
}

// FuzzDecodeBlock shows that no block of headers crashes its reader, and that the quick way through a plain block and the
// client's own read the same event.
func FuzzDecodeBlock(f *testing.F) {
	for _, block := range []string{"", "NATS/1.0\r\n\r\n", "NATS/1.0\r\nce-id: a\r\nce-type: jobledger.v1.completed\r\nce-specversion: 1.0\r\nce-source: /orgs/acme\r\n\r\n",
		"NATS/1.0\r\nce-id: a\r\nce-id: b\r\nce-type: jobledger.v1.queued\r\n\r\n", "NATS/1.0 503\r\n\r\n", "NATS/1.0\r\nce-id:a", "NATS/1.0\r\nCe-Id: a\r\nce-authid: %zz\r\n\r\n"} {
		f.Add([]byte(block), []byte(`{"attempt":1,"generation":1,"result":{}}`))
	}
	f.Fuzz(func(t *testing.T, block, body []byte) {
		const subject = "jobs.acme.x"
		e, _, err := schemas.DecodeBlock(subject, block, body, 7, aTime)
		h, bad := nats.DecodeHeadersMsg(block)
		if bad != nil {
			return
		}
		slow, slowErr := schemas.Decode(subject, h, body, 7, aTime)
		if (err == nil) != (slowErr == nil) {
			t.Fatalf("the quick reader says %v, the other %v", err, slowErr)
		}
		if err == nil && (e.ID != slow.ID || e.Actor != slow.Actor || e.Data.Name() != slow.Data.Name() || e.CorrelationID != slow.CorrelationID || e.MsgID != slow.MsgID) {
			t.Fatalf("the quick reader reads %+v, the other %+v", e, slow)
		}
	})
}

// FuzzNames shows that an actor which is read is written as it was.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"user:ada", "api_key:a:b", ":", "user:", "system:x", "us er:a", "user:\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := schemas.ParseActor(s); err == nil && a.String() != s {
			t.Fatalf("%q is written as %q", s, a)
		}
		if schemas.CheckToken("name", s) == nil {
			for _, r := range s {
				if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
					t.Fatalf("%q is a name", s)
				}
			}
		}
	})
}
