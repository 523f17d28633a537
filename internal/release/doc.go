// Package release builds the program as it was at an earlier commit, out of the repository's own history: for tests
// that run an old version beside the new one, and for comparing their speed. It needs git, the commit in the clone,
// and the modules that the commit names, which are as a rule those of today. Nothing that users run imports it.
//
// # Which release is the previous one
//
// The latest tag v* before the commit that is checked out. As long as there is none: [Baseline].
package release
