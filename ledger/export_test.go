package ledger

import "time"

// FreshFor makes payloads old sooner than PayloadFresh, as a suspended process finds them.
func (l *Ledger) FreshFor(d time.Duration) { l.fresh = d }
