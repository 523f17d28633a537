//go:build unix && !linux

package storm_test

import "syscall"

// childAttr puts a child into a process group of its own; elsewhere than on Linux it outlives a test process
// that was killed.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
