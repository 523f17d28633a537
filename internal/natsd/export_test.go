package natsd

import "time"

// MaxSubs is maxSubs.
const MaxSubs = maxSubs

// Noticed is cfg with another time between two lines of a start that goes on.
func Noticed(cfg Config, every time.Duration) Config {
	cfg.notice = every
	return cfg
}
