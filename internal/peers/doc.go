// Command peers measures jobledger beside other queues: River on PostgreSQL, Asynq on Redis and JetStream without any
// jobs, all in one run of a harness that is not part of this repository.
//
//	make bench-peers HARNESS=/path/to/harness [REPS=3] [SCENARIOS=s3,s4] [CONFIGS=ours,rawjs] [QUICK=1] [PROFILES=dir]
//
// It copies the harness to a scratch folder, puts jobledger's adapter there (package ours, and join.go.txt, which speaks
// the harness's language), adds jobledger's configurations to run.sh, installs redis-server and postgresql where a
// chosen configuration needs them, builds the program and runs. Every server is a process of its own on a fresh folder,
// one at a time. Deduplication is off in all but ours-dedup; every view of jobledger is on.
//
// What comes out is printed: the harness's tables, and the ratios that issue 6 sets as aims. A whole run also goes into
// docs/PERFORMANCE.md, between two marks; one that was shortened does not, unless WRITE=1 says so.
//
// # Invariants
//
//   - The contracts of the harness are kept: a submit returns after the acknowledgement that the configuration promises,
//     a handler is called when a user's would start, and a job is completed when its event is stored.
//   - A measurement whose jobs the server's views do not confirm has no result.
//   - Nothing is written outside the scratch folder but the document.
package main
