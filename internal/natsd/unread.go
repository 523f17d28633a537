package natsd

import (
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

const (
	// unreadMax bounds the answers that one tenant's account has not read, of all its connections together; the server alone would
	// hold 64 MiB for each. Beyond it the connections with the most are ended.
	unreadMax = 64 << 20
	// unreadEvery is how often that is looked at: what comes meanwhile is not bounded.
	unreadEvery = 250 * time.Millisecond
	// unreadLook is at how many connections, those with the most unread.
	unreadLook = 1024
)

// watchUnread holds the accounts of tenants to unreadMax, until stop is closed.
func (g *guard) watchUnread(stop <-chan struct{}) {
	tick := time.NewTicker(unreadEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			g.lookUnread()
		case <-stop:
			return
		}
	}
}

func (g *guard) lookUnread() {
	g.mu.Lock()
	none, most := len(g.tenants) == 0, g.unread
	g.mu.Unlock()
	if none {
		return
	}
	conns, err := g.ns.Connz(&server.ConnzOptions{Username: true, Sort: server.ByPending, Limit: unreadLook})
	if err != nil { // the server ends
		return
	}
	of := map[string]int{}
	for _, c := range conns.Conns {
		of[c.Account] += c.Pending
	}
	for _, c := range conns.Conns { // the most unread first
		g.mu.Lock()
		_, tenant := g.tenants[c.Account]
		g.mu.Unlock()
		if !tenant || of[c.Account] <= most {
			continue
		}
		of[c.Account] -= c.Pending
		g.log.Warn("a connection that does not read its answers is ended", zap.String("account", c.Account), zap.String("from", c.IP), zap.Int("bytes", c.Pending))
		_ = g.ns.DisconnectClientByID(c.Cid) // it may have gone by itself
	}
}
