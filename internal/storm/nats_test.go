//go:build unix

package storm_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dartwing/jobledger/internal/natsd"
)

// envNode makes the test's own executable a NATS server, described by the variable's value: a process of its
// own that can be killed and stopped like any other.
const envNode = "JOBLEDGER_STORM_NODE"

// runNode is such a process. It says so when it takes requests, and ends with SIGTERM.
func runNode(description string) error {
	var cfg natsd.Config
	if err := json.Unmarshal([]byte(description), &cfg); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s, err := natsd.Start(cfg)
	if err != nil {
		return err
	}
	defer s.Shutdown()
	if err := s.WaitReady(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	return nil
}

// natsServers is one NATS server, or a cluster, in processes of their own. Member i keeps its name, ports and data.
type natsServers struct {
	h       *home
	configs []natsd.Config
	nodes   []*process
	url     string
}

// startNATS starts n members and returns when all take requests.
func startNATS(h *home, n int) *natsServers {
	h.t.Helper()
	c := &natsServers{h: h, configs: make([]natsd.Config, n), nodes: make([]*process, n)}
	ports := freePorts(h.t, 2*n)
	var peers, urls []string
	for i := range n {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
		peers = append(peers, fmt.Sprintf("127.0.0.1:%d", ports[n+i]))
	}
	for i := range n {
		c.configs[i] = natsd.Config{Name: fmt.Sprintf("n%d", i+1), StoreDir: filepath.Join(h.dir, fmt.Sprintf("n%d", i+1)), Port: ports[i]}
		if n > 1 {
			c.configs[i].Cluster = &natsd.ClusterConfig{Name: "storm", Port: ports[n+i], Peers: peers}
		}
	}
	c.url = strings.Join(urls, ",")
	ready := make([]<-chan string, n)
	for i := range n {
		ready[i] = c.start(i)
	}
	for i := range n {
		c.await(i, ready[i])
	}
	return c
}

// start begins member i; what it says first arrives in the channel.
func (c *natsServers) start(i int) <-chan string {
	c.h.t.Helper()
	description, err := json.Marshal(c.configs[i])
	if err != nil {
		c.h.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		c.h.t.Fatal(err)
	}
	p, out := c.h.run(c.configs[i].Name, self, []string{envNode + "=" + string(description)})
	c.nodes[i] = p
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n') // none, if it ends before
		said <- line
	}()
	return said
}

func (c *natsServers) await(i int, ready <-chan string) {
	c.h.t.Helper()
	select {
	case line := <-ready:
		if line != "ready\n" {
			<-c.nodes[i].gone
			c.h.t.Fatalf("NATS server %s does not start: %v", c.configs[i].Name, c.nodes[i].err)
		}
	case <-time.After(patience):
		c.h.t.Fatalf("NATS server %s is not ready", c.configs[i].Name)
	}
}

// restart starts member i again and returns when it takes requests.
func (c *natsServers) restart(i int) { c.await(i, c.start(i)) }

// byName is the index of the member with that name, as stream infos report it, or -1.
func (c *natsServers) byName(name string) int {
	return slices.IndexFunc(c.configs, func(cfg natsd.Config) bool { return cfg.Name == name })
}

// kill ends member i as a crash does.
func (c *natsServers) kill(i int) {
	c.nodes[i].kill()
	c.nodes[i] = nil
}
