// Command scale measures how many tenants get along on one ledger: it starts the program's own server with files, fills it,
// and prints what came of each promise as one table, or as JSON. `make scale` runs it.
//
// # Parts
//
//	flood    one org submits all jobs, then 200 others ten each; critical jobs; shares by weight
//	quiet    an org that submits now and then, alone and beside one that submits all the time
//	bands    a single org's drain, and that of 200 orgs whose jobs stand in separate bands of the ledger
//	timers   a tenth of the jobs come due within one second, under limits
//	restart  a server is killed with as many timers and as many waiting jobs, and folds the ledger anew
//	lag      how long after a submit counts and searches include it, at 3,000 jobs a second and at saturation
//	streams  10,000 clients follow an org over HTTP, and go on after the server was killed
//	years    jobs come and go for many hot windows (-window), at a steady pace (-rate), many in one submit (-bulk): what
//	         the server needs follows the window, not the history; then a backup beside work, put into an empty store, checked in full and worked on
//	search   jobs of a thousand orgs, then as many of one, straight into a query index; what each kind of filter takes
//	rules    `bench flow` with every rule in force and without, in pairs (see internal/pairs)
//
// # Where the figures come from
//
// Times between events are the ledger's own, read back after the measurement, which costs nothing of it. Each part but the
// last runs on a server and a folder of its own, and ends in the checker (ledger.Verify, with limits): a part whose ledger is
// not sound has no figures. Workers and submitters are in this process, so the server's memory is its own, and what they use
// for a job says how fast the machine was at the time.
//
// Nothing here is imported, and nothing stays on disk.
package main
