// Package schemas holds the records jobledger stores and exchanges: ids and positions, the states and
// event names, the data of every event, the folded state of a job, and the CloudEvents envelope.
//
// # Stored form
//
// An event is one JetStream message in binary-mode CloudEvents: the attributes are headers
// (ce-specversion, ce-id, ce-source, ce-type, ...), the body is the data as one JSON object. A job's
// events stand on jobs.<org>.<job>, control events on control.<scope>.<kind>[.<name>].
//
// Caller-supplied JSON (args, results, checkpoints) is stored byte for byte: Encode puts the raw bytes
// at the end of the body instead of passing them through the JSON encoder, which would rewrite them.
//
// # Invariants
//
//   - Everything is additive within v1: readers ignore unknown fields, no field is renamed or retyped.
//   - Encode(Decode(x)) is byte-equal to x for every event version ever written (testdata/events).
//   - Events carry durations, never due times computed from a writer's clock; the only absolute times
//     are those a person asked for (not_before, deadline) and those in carried, which are stream times.
//   - What folds rely on is checked on encode and on decode, so a malformed record is neither written nor
//     believed; limits on encode alone, so that no limit of today makes an event of yesterday unreadable.
package schemas
