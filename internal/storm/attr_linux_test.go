package storm_test

import "syscall"

// childAttr puts a child into a process group of its own, and ends it with the thread that forked it, which
// lives as long as this process does (see forker).
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
