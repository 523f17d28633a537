// Package schemagen makes the JSON Schemas of the events from the Go types of package schemas, which are
// the source. The results are committed as schemas/json/<event>.v1.json and embedded there, so that no
// program carries the generator; the test of this package proves that they are current, and `make golden`
// writes them.
//
// # Form
//
// One document per event version: JSON Schema draft 2020-12, $id with the version in its path, title = the
// ce-type, descriptions from the comments of the Go source, properties in the order in which they are
// written. A schema says what is written, not all that is read: unknown properties are allowed, because
// within a version everything grows by addition.
package schemagen
