package projector

import (
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Status is how far the views are written, and what they say at that, for metrics. It is kept as events are folded: to
// read it costs nothing.
type Status struct {
	Jobs, Counts, Config schemas.Seq // everything up to them is written
	// Quarantined and Illegal are of all of the ledger, as in ledger.CountsDocument.
	Quarantined, Illegal int64
	// Queues counts the jobs of all orgs and types, exact at Counts. Nobody changes it.
	Queues map[schemas.QueueName]ledger.Count
}

// Status returns what the latest flush wrote; nil while this server does not write views, or has written none yet.
func (p *Projector) Status() *Status { return p.status.Load() }

// wrote publishes what a flush has written, if it wrote how far the views are.
func (p *Projector) wrote(b *batch) {
	if b.all == nil || b.all.err != nil || b.all.kept {
		return
	}
	p.status.Store(&Status{Jobs: b.doc.Jobs.Seq, Counts: b.doc.Seq, Config: b.doc.Config.Seq,
		Quarantined: b.doc.Quarantined, Illegal: b.doc.Illegal, Queues: b.queues})
}

// ofQueue is a standing that counts for its queue alone.
func ofQueue(s ledger.Standing) ledger.Standing {
	s.Key = ledger.CountKey{Queue: s.Key.Queue}
	return s
}

// addQueue adds counters that the fold begins with.
func (v *views) addQueue(k ledger.CountKey, n ledger.Count) {
	k = ledger.CountKey{Queue: k.Queue}
	q := v.queues[k]
	if q == nil {
		q = new(ledger.Count)
		v.queues[k] = q
	}
	q.Add(n)
}

func (v *views) byQueue() map[schemas.QueueName]ledger.Count {
	all := make(map[schemas.QueueName]ledger.Count, len(v.queues))
	for k, n := range v.queues {
		all[k.Queue] = *n
	}
	return all
}
