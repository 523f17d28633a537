package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// lastsMax is how many documents the server returns for one request for the last message of many subjects. An org
// with more pairs of queue and type has no counts at the door.
const lastsMax = 1024

const countsPrefix = "$KV." + BucketCounts + "."

// orgCounts are an org's counters by COUNTS.
type orgCounts struct {
	at     schemas.Seq // whatever is stored up to here is in them
	queues map[schemas.QueueName]Count
	types  map[schemas.TypeName]int64 // jobs in any state
	all    Count
}

// of returns the counters of a queue; zero where nothing is known.
func (c *orgCounts) of(q schemas.QueueName) Count {
	if c == nil {
		return Count{}
	}
	return c.queues[q]
}

// total returns the counters of all queues.
func (c *orgCounts) total() Count {
	if c == nil {
		return Count{}
	}
	return c.all
}

// submitted is how many jobs of a type there are, in any state; of all types for "".
func (c *orgCounts) submitted(typ schemas.TypeName) int64 {
	if typ == "" {
		return c.all.Total()
	}
	return c.types[typ]
}

// orgCounts reads an org's counters with one request, as any replica of the view has them.
func (l *Ledger) orgCounts(ctx context.Context, org schemas.OrgID) (*orgCounts, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	inbox := l.nc.NewInbox()
	answers := make(chan *nats.Msg, lastsMax+2)
	sub, err := l.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, which ends it too
	body, err := json.Marshal(struct {
		MultiLast []string `json:"multi_last"`
	}{[]string{countsPrefix + KeyCountsAll, countsPrefix + string(org) + ".>"}})
	if err != nil {
		return nil, err
	}
	if err := l.nc.PublishRequest(subjectDirectGetOf+"KV_"+BucketCounts, inbox, body); err != nil {
		return nil, err
	}
	c := &orgCounts{queues: make(map[schemas.QueueName]Count), types: make(map[schemas.TypeName]int64)}
	complete := false
	for {
		var m *nats.Msg
		select {
		case m = <-answers:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		key, isDocument := strings.CutPrefix(lastValue(m.Header, headerSubject), countsPrefix)
		switch status := lastValue(m.Header, headerStatus); {
		case isDocument && key == KeyCountsAll:
			complete = true
			var all CountsDocument
			if err := json.Unmarshal(m.Data, &all); err != nil {
				return nil, fmt.Errorf("%s/%s: %w", BucketCounts, key, err)
			}
			c.at = max(c.at, all.Seq)
		case isDocument:
			if err := c.add(m); err != nil {
				return nil, fmt.Errorf("%s/%s: %w", BucketCounts, key, err)
			}
		case status != statusEnd:
			return nil, fmt.Errorf("%w: status %s", errDirect, status)
		case !complete:
			return nil, fmt.Errorf("%s is being folded", BucketCounts)
		default:
			return c, nil
		}
	}
}

// add takes one counter in. A document may be ahead of COUNTS/all, which is written last.
func (c *orgCounts) add(m *nats.Msg) error {
	if lastValue(m.Header, headerKV) != "" {
		return nil // deleted
	}
	var doc CountHead
	if err := json.Unmarshal(m.Data, &doc); err != nil {
		return err
	}
	c.at = max(c.at, doc.Seq)
	n := c.queues[doc.Queue]
	n.Add(doc.Count)
	c.queues[doc.Queue] = n
	c.types[doc.Type] += doc.Total()
	c.all.Add(doc.Count)
	return nil
}
