package natsd

// MaxSubs is maxSubs.
const MaxSubs = maxSubs
