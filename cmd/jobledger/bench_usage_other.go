//go:build !unix

package main

// benchUsage: this system has no getrusage.
func benchUsage() usage { return usage{} }
