package gateway_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// TestGuessersTakeNoPlace: who tries many unknown tokens is slowed down, and keeps out nobody who has one, also if it was never
// used here.
func TestGuessersTakeNoPlace(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	// It was made before the server began, and is not used yet.
	fresh := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	s.stop()
	other, _ := s.another(nil)
	server := httptest.NewServer(other.HTTP(gateway.HTTPConfig{}))
	t.Cleanup(server.Close)
	s.url = server.URL
	n := 0
	guess := func() { // until it is refused for that
		t.Helper()
		for range 100_000 {
			n++
			secret := fresh[:len("jl_")] + fmt.Sprintf("%016x", n) + fresh[len("jl_")+16:]
			if s.call(secret, "GET", "/v1/orgs/acme/jobs", "").code() == ledger.CodeRateLimited {
				return
			}
		}
		t.Fatal("whoever guesses is not slowed down")
	}
	s.until("a token opens beside a guesser", func() bool { // which ones there are is read beside the start
		guess()
		return s.call(fresh, "GET", "/v1/orgs/acme/jobs", "").status == http.StatusOK
	})
}
