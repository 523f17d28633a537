package natsd

import (
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"
)

// limitSpare is the part of what is free at the start that the server may not store: one in so many.
const limitSpare = 20

// storeLimit is the limit on file storage that the server is started with: what its folder holds, and nearly all that the
// file system has free. The server's own choice would be three quarters of the sum, which is less than what is stored
// where other programs have filled the disk: every append would be refused then, outcomes of running jobs too, with room
// left. Zero, the server's own choice, where this system does not tell.
func storeLimit(dir string) int64 {
	free, total, err := diskRoom(dir)
	if err != nil || total == 0 {
		return 0
	}
	var held int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { // what cannot be read counts as nothing
		if err != nil || d.IsDir() {
			return nil
		}
		if i, err := d.Info(); err == nil {
			held += i.Size()
		}
		return nil
	})
	return held + free - free/limitSpare
}

// Room tells how many bytes of files the server can still store, and of how many. Free is what the file system of the data
// folder has free, or what the server's limit leaves where that is less: it is set at its start (storeLimit). Total is the limit, or the file system where that is smaller. Zero of zero: this system
// does not tell.
func (s *Server) Room() (free, total int64, err error) {
	free, total, err = diskRoom(s.cfg.StoreDir)
	if err != nil {
		return 0, 0, fmt.Errorf("natsd: measure %s: %w", s.cfg.StoreDir, err)
	}
	info, err := s.ns.Jsz(&server.JSzOptions{})
	if err != nil {
		return 0, 0, fmt.Errorf("natsd: measure the server: %w", err)
	}
	free, total = within(free, total, info.Config.MaxStore, int64(info.Store))
	return free, total, nil
}

// within bounds the room of a disk by the server's limit, if it has one. Each by itself: on a large disk that others have
// filled, a reserve that is a part of the total would else jump above all that was free when the server started.
func within(free, total, limit, used int64) (int64, int64) {
	switch {
	case limit <= 0:
		return free, total
	case total == 0:
		return limit - used, limit
	}
	return min(free, limit-used), min(total, limit)
}
