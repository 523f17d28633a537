//go:build unix

package main

import (
	"runtime"
	"syscall"
	"time"
)

// benchUsage asks the system what this process has used.
func benchUsage() usage {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return usage{}
	}
	rss := int64(r.Maxrss)
	if runtime.GOOS != "darwin" && runtime.GOOS != "ios" {
		rss *= 1024 // kibibytes everywhere else
	}
	return usage{cpu: time.Duration(r.Utime.Nano() + r.Stime.Nano()), rss: rss, ok: true}
}
