// Package demodata holds the real input of the demo inside the binary, so that an installed jobledger runs it
// without a checkout. Origin and licence of each file are in README.md beside this file.
package demodata

import "embed"

// Files are the demo's inputs: photos, tables, texts, and broken (files that fail on purpose). Paths are relative
// to this folder, for example "photos/cat.png".
//
//go:embed photos tables texts broken README.md
var Files embed.FS
