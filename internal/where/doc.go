// Package where is the grammar by which jobs are chosen, the same everywhere (INTERFACE 2):
//
//	state:dead_lettered type:email-* queue:bulk,critical error:"connection refused" -tag.env:test submitted:>1h
//
// # The grammar
//
//	where = term { blank term }                   all of them must hold
//	term  = [ "-" ] field ":" value { "," value } one of the values; "-" turns it around
//	value = word [ "*" ] | '"' text '"' [ "*" ]   "*" at the end: begins with; alone: has any
//	      | ( "<" | "<=" | ">" | ">=" ) bound | bound ".." bound | number
//
// In quotes all letters are literal but \" and \\. A bound is a number, a time in RFC 3339 or an age, such as 1h30m or
// 7d. Ages compare as ages: submitted:>1h is longer than an hour ago, submitted:1h..1d between an hour and a day ago.
//
// # Invariants
//
//   - All is pure: the clock is an argument, so an age means the same in one look at many jobs.
//   - Parse(w.String()) gives w again, for every w that Parse gave.
//   - A text is bounded in length, terms and values before anything is done with it.
//   - What cannot be meant is refused, with the place and what to write instead: a slip is no empty answer.
package where
