// Package sim is a deterministic simulation of a whole cell: servers, workers and clients run as they are,
// against a model of the NATS server, under a scheduler that a seed drives. It holds tests only.
//
// # The cut
//
// Nothing of ours is written again for the simulation. dispatcher.Host, ledger.Feed, projector.Projector,
// handlers.Worker and ledger.Ledger run unmodified, and so does the NATS client beneath them: the seam is the
// connection. Each party's client speaks the NATS protocol into a pipe of ours, at whose other end a model of
// JetStream answers. Goroutines and clocks are no obstacle since testing/synctest: a run lives in one bubble,
// whose clock moves only when every goroutine of every party waits. Compared with step functions pulled out of
// worker and host, or with interfaces around the client, this takes less code, leaves production code alone,
// and misses nothing that lies between a decision and the wire: retries, reconnects, pulls, timeouts, gaps.
//
// # The scheduler
//
// One goroutine owns the network and the model. It lets one thing happen (a message arrives, a process dies)
// and then waits until all is still. What a message meets (latency, loss, duplication, delay past others) is
// drawn from the seed, the connection, the class of message and its number, so that what happens elsewhere
// shifts nothing. Within one connection only messages of different streams and consumers overtake each other,
// as with the real server. Processes crash without a word (nothing they still do reaches anybody), stand still
// for longer than a lease, lose their connections, are told to stop; the server crashes and loses what it held
// in memory; its clock, which is the stream's, is set. Clocks of processes need no skew of their own: they are
// only ever compared with the stream's. A process that stands still is modelled at its connections: its timers
// go on, what it says and hears waits.
//
// Two things in one process that happen at the very same instant are ordered by Go's runtime, which no seed
// reaches: about four seeds of five tell the same story to the last message (TestSeedsRepeat). Hence the end
// of the trace is printed with a failure.
//
// # The model
//
// engine_*_test.go: streams with expected sequences (10071; 10164 while a write is in flight), the window of
// message ids, the order in which one server and a cluster check them, the work queue with acks by sequence and
// redelivery, push and pull consumers, the get APIs, buckets with TTLs, memory that a restart takes away.
// TestModelIsTheEngine tells the same transcripts to the model and to the embedded server, TestModelIsTheCluster
// those that replication makes different to a cluster of three.
//
// # What is held to be true
//
// After every step: each stored event is legal; an attempt ends once; a handler starts once for an attempt,
// after its running is stored and not later than a claim may be started; no worker runs more than its slots;
// budgets and poison limits hold, counted by hand; an acknowledged submit is in the ledger; no attempt is lost
// whose worker and leader had no trouble; an outcome comes from the worker that claimed; a claim is started or
// handed back; a checkpoint comes from the worker whose attempt it is of; a job with parents is queued only when they
// have ended so that it may, and ends with one only if one failed; under a limit of one a handler starts only when no
// other one is left; nobody queues or offers a job whose place was taken behind a hold; no document of a view goes
// back. At the end, once faults have stopped: every job ends, the leader's core holds nothing, WORK is empty, each tick
// of a schedule made one job, and ledger.Verify finds all views equal to a fold from zero and no limit exceeded.
//
// # The table
//
// A printed table counts, for each legal transition and each control event, what befell the append that made it: lost,
// doubled or late on its way, its answer lost or late, refused by a full disk, in flight while others come, the server
// restarted behind it, its writer cut off, dead or standing still, its message to the folds late. Left to chance many of
// these would never meet. So each run aims at some cells (aims_test.go): a script has a job go where the transition
// happens (scripts_test.go), and the fault waits for it there. The test fails if cells stay empty that enough seeds
// aimed at.
//
// # Planted bugs
//
// testdata/planted holds bugs as patches of production code; each must be found within a number of seeds. They
// are built into one test binary through the go command's -overlay (make planted): no switch stands in production
// code. Several were real once: what the simulation finds is planted again when it is mended.
//
// # Commands
//
//	go test ./internal/sim                              the seeds of an ordinary run, the transcripts
//	go test ./internal/sim -run 'TestSeeds$' -sim.seed=7 -v [-sim.log]    one seed with its whole trace
//	make fuzz [SEED=7]                                  10,000 seeds, and the table of transitions and faults
//	make planted                                        each planted bug is found; the model and a cluster
package sim
