package gateway

import (
	"slices"
	"testing"

	"github.com/dartwing/jobledger/gateway/rights"
)

// TestEveryEndpointAsksForARight: one without a known action would be closed to all but the cell's own account.
func TestEveryEndpointAsksForARight(t *testing.T) {
	for _, ep := range (&Gateway{}).endpoints() {
		if !slices.Contains(rights.Actions(), ep.action) {
			t.Errorf("endpoint %s asks for the right %q, which there is not", ep.name, ep.action)
		}
	}
}
