package natsd

import (
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
)

// Room tells how many bytes of files the server can still store, and of how many. Free is what the file system of the data
// folder has free, or what the server's own limit leaves where that is less: it sets one at its start, three quarters of what
// is there and what was free then. Total is the limit, or the file system where that is smaller. Zero of zero: this system
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
