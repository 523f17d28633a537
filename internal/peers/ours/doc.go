// Package ours is what a harness that compares queues needs of jobledger: submit, submit in bulk, work, and how many
// jobs are not yet completed. It is written against the public packages only, as a user's program would be, and talks
// to a server in another process. Its files are copied into the harness (package peers does it), so it imports nothing
// internal.
//
// # What is counted as completed
//
// A job is completed when its `completed` event is stored: the worker reports an outcome only after LEDGER's own
// acknowledgement of it. [Client.Outstanding] counts those reports, so that the moment of the last one is known without
// reading every event a second time beside the measurement. Reports are not taken on trust: the function that stops the
// workers waits for the views and compares what they say of every job, and so does Outstanding while there are no
// workers. Where they differ there is no result.
package ours
