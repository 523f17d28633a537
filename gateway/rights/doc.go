// Package rights decides who may do what: one pure function, Decide, for every door (DESIGN D10, R-601).
//
// A Principal is somebody whom a door has recognised, with one role in each org in which he has any, or the role of
// the whole cell. Decide answers with a Reach: whose jobs the action may touch. What reaches less than the org's jobs
// is judged job by job, with Reach.Covers; a job that is not covered is, for its caller, not there.
//
// # Invariants
//
//   - The table is data, as it stands in REQUIREMENTS 8; a test reads both and compares each cell.
//   - No role is contained in another: each is written out.
//   - What is not in the table is not allowed: an action without a row, a role without a cell, an org without a grant.
//   - No clock, no I/O, nothing remembered: rights that changed act on the next question.
package rights
