// Package ticks tells the times of a schedule: of a cron expression in a time zone, of an interval, or the one
// time of a schedule that has but one. It is pure: no clock, and the same answers on every server that has
// the same time zone data.
//
// # Reading a cron expression
//
// The expression is read by github.com/netresearch/go-cron, but only ever in UTC: it says which times of the wall
// clock are meant. What these are on the time line is decided here, so that one stated rule holds for every zone:
//
//   - An expression that names some hours means each time once. A time that the clock skips is a tick at the end of
//     the gap, together with all others of that gap; of a time that the clock shows twice the first is the tick.
//   - An expression that names every hour follows the clock: what it skips is no tick, what it shows twice is two.
//
// # Invariants
//
//   - Ticks are whole seconds, and each is later than the one before it.
//   - Next(t) is after t, whatever the zone does; a plan without further ticks returns the zero time.
package ticks
