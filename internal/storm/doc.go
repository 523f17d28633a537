// Package storm holds tests that damage real processes: the program is built and run as users run it, and
// killed (kill -9), stopped (SIGSTOP) and continued while jobs flow. Nothing imports it.
//
// # The truth
//
// The ledger is not its own witness. Every job is a shell command that appends one line to a file as it starts
// and one to another as its work is done; the tests compare both files with the ledger's events: no attempt
// starts twice, none starts without its running event, no acknowledged job is missing, and whatever was
// disturbed lost what it held and nothing else. A watcher of the KV views sees to it that no document goes back
// in time, and every test ends in `log verify --full`.
//
// # The previous release
//
// One test runs the previous release beside this version: the latest tag before the commit that is checked out, or, as
// long as there is none, a commit that package release names. It is built out of git's history, so the clone must hold
// that; in a shallow one the test is skipped at the small size, and fails at the full one.
//
// # Sizes
//
//	go test ./internal/storm     small: seconds
//	make storm                   full: thousands of jobs, minutes
//	go test ./internal/storm -v -full -run Leader -jobs 20000 -seed 7
//	go test ./internal/storm -v -full -run TestArchiveKilled -archive-kills 200 -timeout 0
//
// A test waits for what happens and never asserts how long it took: times are printed.
package storm
