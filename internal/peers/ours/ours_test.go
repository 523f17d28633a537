package ours

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// The adapter keeps the harness's contracts against a cell as it is: what is submitted is handled once with its payload,
// is outstanding until then, and what stop proves is proved.
func TestAdapter(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t, ledgertest.WithPort())
	c, err := Open(t.Context(), Config{URL: env.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	payloads := [][]byte{[]byte(`plain`), []byte(`quoted "\` + "\n"), []byte("same"), []byte("same")}
	if err := c.SubmitBulk(t.Context(), payloads[:3]); err != nil {
		t.Fatal(err)
	}
	if err := c.Submit(t.Context(), payloads[3]); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Outstanding(t.Context()); err != nil || n != 4 {
		t.Errorf("%d outstanding of 4: %v", n, err)
	}
	var mu sync.Mutex
	var handled [][]byte
	all := make(chan struct{})
	stop, err := c.StartWorkers(t.Context(), 2, func(payload []byte) {
		mu.Lock()
		defer mu.Unlock()
		handled = append(handled, bytes.Clone(payload))
		if len(handled) == len(payloads) {
			close(all)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-all
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Outstanding(t.Context()); err != nil || n != 0 {
		t.Errorf("%d outstanding after all were handled: %v", n, err)
	}
	seen := map[string]int{}
	for _, p := range handled {
		seen[string(p)]++
	}
	if got := fmt.Sprint(seen); got != fmt.Sprint(map[string]int{string(payloads[0]): 1, string(payloads[1]): 1, "same": 2}) {
		t.Errorf("handled %s", got)
	}
	c.completed.Add(1) // one more than the server knows
	if err := c.prove(t.Context()); err == nil {
		t.Error("a completion that the views do not hold was taken on trust")
	}
}
