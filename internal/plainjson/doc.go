// Package plainjson reads and writes the plain part of JSON without reflection: objects without blanks, texts
// of printable ASCII without escapes, whole numbers, true and false. That is how nearly all of the ledger's
// events and offers look, a few million an hour, and it costs a fifth of what encoding/json takes.
//
// encoding/json stays the judge. A Reader that meets anything else turns Bad, and its user decodes the whole
// text again with encoding/json; a writer with a value outside the plain part gives the whole record to it.
// The users' tests hold both ways to the same result, for every field of every record.
package plainjson
