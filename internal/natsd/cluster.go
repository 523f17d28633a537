package natsd

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// clusterReadyTimeout bounds the forming of a cluster. Three members on a quiet
// machine take one to three seconds: elections are timed in seconds.
const clusterReadyTimeout = 30 * time.Second

// Cluster is a set of embedded servers that replicate to each other, for tests
// of R3 streams. Member i keeps its folder, name and ports over a restart.
type Cluster struct {
	mu      sync.Mutex
	configs []Config
	servers []*Server // nil while stopped
}

// StartCluster starts n members with their data in dir/n1, dir/n2 and so on and
// returns when all of them answer JetStream requests. Of the template only
// Durability, SyncInterval and Logger are used.
func StartCluster(dir string, n int, template Config) (*Cluster, error) {
	ports, err := freePorts(2 * n)
	if err != nil {
		return nil, fmt.Errorf("natsd: find ports for a cluster: %w", err)
	}
	client, route := ports[:n], ports[n:]
	peers := make([]string, n)
	for i := range peers {
		peers[i] = fmt.Sprintf("%s:%d", DefaultHost, route[i])
	}

	c := &Cluster{configs: make([]Config, n), servers: make([]*Server, n)}
	for i := range c.configs {
		name := fmt.Sprintf("n%d", i+1)
		c.configs[i] = Config{
			StoreDir:     filepath.Join(dir, name),
			Name:         name,
			Port:         client[i],
			Durability:   template.Durability,
			SyncInterval: template.SyncInterval,
			Logger:       template.Logger,
			Cluster:      &ClusterConfig{Name: "jobledger-test", Port: route[i], Peers: peers},
		}
		if err := c.Restart(i); err != nil {
			c.Shutdown()
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), clusterReadyTimeout)
	defer cancel()
	for _, s := range c.servers {
		if err := s.WaitReady(ctx); err != nil {
			c.Shutdown()
			return nil, err
		}
	}
	return c, nil
}

// freePorts finds n different free ports. They are given back before they are
// used, which a busy machine may turn into a *PortBusyError.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", DefaultHost+":0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // held till the end, or the next one might get the same
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// Len is the number of members, running or not.
func (c *Cluster) Len() int { return len(c.configs) }

// Server returns member i (from 0), nil while it is stopped.
func (c *Cluster) Server(i int) *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.servers[i]
}

// ByName returns the index of the member with that server name, as stream and
// consumer infos report it, or -1.
func (c *Cluster) ByName(name string) int {
	for i, cfg := range c.configs {
		if cfg.Name == name {
			return i
		}
	}
	return -1
}

// URL lists the addresses of all members, running or not, as nats.Connect
// takes them.
func (c *Cluster) URL() string {
	urls := make([]string, len(c.configs))
	for i, cfg := range c.configs {
		urls[i] = fmt.Sprintf("nats://%s:%d", DefaultHost, cfg.Port)
	}
	return strings.Join(urls, ",")
}

// Stop shuts member i down and waits for it; its data stays.
func (c *Cluster) Stop(i int) {
	c.mu.Lock()
	s := c.servers[i]
	c.servers[i] = nil
	c.mu.Unlock()
	if s != nil {
		s.Shutdown()
	}
}

// Restart starts member i again on its data. It does not wait until the member
// has caught up: that is [Server.WaitReady].
func (c *Cluster) Restart(i int) error {
	s, err := Start(c.configs[i])
	if err != nil {
		return fmt.Errorf("cluster member %d: %w", i+1, err)
	}
	c.mu.Lock()
	c.servers[i] = s
	c.mu.Unlock()
	return nil
}

// Shutdown stops every member.
func (c *Cluster) Shutdown() {
	for i := range c.configs {
		c.Stop(i)
	}
}
