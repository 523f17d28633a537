package ledger

import (
	"strings"
	"testing"

	"github.com/dartwing/jobledger/schemas"
)

// Whatever stands in place of a message beside the events, its reader ends with what it says or an error, and what is read of
// a record of the archive is written and read again.
func FuzzDecodeOthers(f *testing.F) {
	for _, s := range []string{"", "{}", "null", "[]", `{"seq":1}`, `{"error":{"code":10071,"description":"x"}}`, `{"items":[{}],"each":{"type":"echo"}}`, `{"from":1,"through":2}`, strings.Repeat("[", 20_000),
		`{"id":"a","source":"/orgs/acme","subject":"x","sequence":"0000000001","type":"jobledger.v1.submitted","specversion":"1.0","data":{}}`} {
		f.Add("work.default.echo.acme.x", []byte(s))
	}
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		if r, err := decodeRecord(body); err == nil {
			text, err := r.encode()
			if err != nil {
				t.Fatalf("a record that was read cannot be written: %v", err)
			}
			if _, err := decodeRecord(text); err != nil {
				t.Fatalf("a record that was written cannot be read: %v\n%s", err, text)
			}
		}
		if spec, err := DecodeBatch(body); err == nil {
			for i := range spec.Items {
				spec.Item(i)
			}
		}
		_, _ = decodeTally(1, 9, body)
		_, _ = decodeAck(body)
		_, _ = DecodeOffer(body)
		_, _ = DecodePresence(body)
		_, _ = DecodeProgress(subject, body)
		_, _ = ParseCloudEvent(body)
		if q, typ, org, id, ok := ParseOfferSubject(subject); ok && OfferSubject(q, typ, org, id) != subject {
			t.Fatalf("%q is the offer %s", subject, OfferSubject(q, typ, org, id))
		}
		if org, id, ok := parsePayloadName(subject); ok && (schemas.CheckToken("org", string(org)) != nil || schemas.CheckToken("job id", string(id)) != nil) {
			t.Fatalf("%q is a payload of %q, %q", subject, org, id)
		}
		_, _, _ = ParseBatchItemID(schemas.JobID(subject))
		_, _, _ = ParseConsumerName(subject)
	})
}
