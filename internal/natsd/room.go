package natsd

import (
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
)

// Room tells how many bytes of files the server can still store, and of how many: as many as the file system of the
// data folder has free, or fewer where the server's own limit is nearer, which it sets at its start by what was free then.
// Zero of zero: this system does not tell.
func (s *Server) Room() (free, total int64, err error) {
	free, total, err = diskRoom(s.cfg.StoreDir)
	if err != nil {
		return 0, 0, fmt.Errorf("natsd: measure %s: %w", s.cfg.StoreDir, err)
	}
	info, err := s.ns.Jsz(&server.JSzOptions{})
	if err != nil {
		return 0, 0, fmt.Errorf("natsd: measure the server: %w", err)
	}
	if limit := info.Config.MaxStore; limit > 0 {
		if left := limit - int64(info.Store); total == 0 || left < free {
			free, total = left, limit
		}
	}
	return free, total, nil
}
