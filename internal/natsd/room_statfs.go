//go:build linux || darwin || freebsd

package natsd

import "syscall"

// diskRoom is what the file system of a folder has free for us, and its size.
func diskRoom(dir string) (free, total int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	block := int64(s.Bsize)
	return int64(s.Bavail) * block, int64(s.Blocks) * block, nil
}
