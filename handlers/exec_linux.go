package handlers

import (
	"syscall"
	"unsafe"
)

// groupAttr starts a child in a process group of its own, with the signal that ends it when the thread that
// forked it ends (see process).
func groupAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Arguments of waitid(2).
const (
	waitPID     = 1         // P_PID
	waitExited  = 0x4       // WEXITED
	waitNoHang  = 0x1       // WNOHANG
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

// hasExited reports whether pid, which nobody has reaped, has exited.
func hasExited(pid int) bool {
	var info [32]int32 // siginfo_t: 128 bytes, of which the first number is the signal, 0 where nothing has happened
	_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, waitPID, uintptr(pid), uintptr(unsafe.Pointer(&info)),
		waitExited|waitNoReap|waitNoHang, waitNoUsage, 0)
	return errno == 0 && info[0] != 0
}
