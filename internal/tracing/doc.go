// Package tracing makes OpenTelemetry spans of submits and attempts, for a binary that is built with `-tags otel`; without
// the tag it is empty, and the binary five megabytes smaller.
//
// A submit is the span "submit <type>", of kind producer, under the span of its request; an attempt is "process <type>", of
// kind consumer, the root of a trace of its own and linked to the submit's span. Which spans are sampled, and where they
// go, the OTEL_* variables of the environment say, which the SDK reads by itself. Nothing is stored here: the W3C contexts
// of the spans stand in the events (ledger.Trace).
package tracing
