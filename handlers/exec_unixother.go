//go:build unix && !linux

package handlers

import "syscall"

// groupAttr starts a child in a process group of its own. There is no parent-death signal here: the guard
// alone ends the children of a worker that was killed.
func groupAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitExit reports that the end of a process is known only once it is reaped.
func awaitExit(int) bool { return false }

// hasExited reports that nothing is known before that.
func hasExited(int) bool { return false }
