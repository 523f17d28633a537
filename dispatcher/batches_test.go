package dispatcher

import (
	"strconv"
	"strings"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// In transcripts acme/faxes#3 is item 3 of the batch faxes of acme: its id holds a hash, which nobody can read.

// run carries out a command in which, and in whose answer, items of batches are named so.
func (p *player) run(words []string) string {
	said := make([]string, len(words))
	var names []string
	for i, w := range words {
		org, rest, _ := strings.Cut(w, "/")
		batch, number, ok := strings.Cut(rest, "#")
		n, err := strconv.Atoi(number)
		if said[i] = w; !ok || err != nil {
			continue
		}
		key := ledger.BatchItems(schemas.OrgID(org), schemas.JobID(batch), 1)
		said[i] = org + "/" + string(ledger.BatchItemID(key, n))
		if p.batches == nil {
			p.batches = make(map[string]string)
		}
		p.batches[key] = batch + "#"
	}
	for key, batch := range p.batches {
		names = append(names, key, batch)
	}
	return strings.NewReplacer(names...).Replace(p.carryOut(said))
}
