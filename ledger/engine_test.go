package ledger

import (
	"strings"
	"testing"

	"github.com/dartwing/jobledger/schemas"
)

// "A server too old" is refused with one sentence. No old server can be embedded: the judgement alone is tested.
func TestServerTooOld(t *testing.T) {
	t.Parallel()
	for level := range apiLevelMin {
		err := checkLevel(level, "2.11.4")
		if err == nil || !strings.Contains(err.Error(), "2.11.4") || !strings.Contains(err.Error(), "upgrade it to 2.12") {
			t.Errorf("level %d: %v", level, err)
		}
	}
	if err := checkLevel(apiLevelMin, "2.12.0"); err != nil {
		t.Error(err)
	}
}

// The quick reading of an acknowledgement reads nothing that the slow one would not.
func TestPlainAck(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]schemas.Seq{
		`{"stream":"LEDGER","seq":7}`: 7, `{"stream":"LEDGER","seq":18446744073709551615}`: 1<<64 - 1,
		`{"stream":"LEDGER","seq":0}`: 0, `{"stream":"LEDGER","seq":}`: 0, `{"stream":"LEDGER","seq":7`: 0,
		`{"stream":"LEDGER","seq":7,"duplicate": true}`: 0, `{"stream":"OTHER","seq":7}`: 0, `{"stream":"LEDGER","seq":-7}`: 0,
	} {
		if seq, ok := PlainAck(StreamLedger, []byte(body)); ok != (want > 0) || ok && schemas.Seq(seq) != want {
			t.Errorf("%s: %d, %t, want %d", body, seq, ok, want)
		}
	}
}
