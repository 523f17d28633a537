package handlers

import "syscall"

// groupAttr starts a child in a process group of its own, with the signal that ends it when the thread that
// forked it ends (see process).
func groupAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Arguments of waitid(2).
const (
	waitPID     = 1         // P_PID
	waitExited  = 0x4       // WEXITED
	waitNoReap  = 0x1000000 // WNOWAIT
	waitNoInfo  = 0         // the status is read when the child is reaped
	waitNoUsage = 0
)

// awaitExit returns when pid has exited, without reaping it, and reports whether it could. It blocks its thread.
func awaitExit(pid int) bool {
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, waitPID, uintptr(pid), waitNoInfo, waitExited|waitNoReap, waitNoUsage, 0)
		if errno != syscall.EINTR {
			return errno == 0
		}
	}
}
