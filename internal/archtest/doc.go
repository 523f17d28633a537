// Package archtest holds the tests that keep the source in shape: the import
// arrows of the design, and the sizes at which the house style asks for a
// second look. Nothing imports it; `make check` runs it.
//
// [CheckImports] and [CheckFile] are pure, so the tests also show that each
// rule can fail.
package archtest
