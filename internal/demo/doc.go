// Package demo holds the jobs that `jobledger dev --demo` runs: what they do (Tasks), the batch that is submitted
// (Batch) and the local receiver of the webhooks (Receiver).
//
// The work is real and small: photographs become thumbnails, public tables are summarised, texts are counted and
// checksummed, webhooks are delivered and signed. Beside them stand the reference types of R-28. Input comes from
// an fs.FS (testdata/demo, embedded), output goes below one os.Root.
//
// # Stored form
//
// Output: thumbnails/<org>/<photo>-<max>.<png|jpg>, written to a file of the attempt's own and renamed, so that a
// reader sees a whole picture or none. The same job run again writes the same bytes over it.
//
// # Invariants
//
//   - A task's result depends on its arguments and input; that of Sample also on the attempt number, that of a delivery
//     on the receiver, which counts a token once. So every attempt
//     of a job may run twice, and a batch may be submitted any number of times.
//   - No path leaves the input file system or the output root, whatever the arguments say.
//   - Bad input (missing, damaged, outside a limit) is a permanent error; everything else may be retried (R-502).
//   - Every task ends soon after its context does and returns the context's error.
package demo
