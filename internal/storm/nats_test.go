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
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for led := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			if leads := s.LeadsCluster(); leads != led {
				led = leads
				fmt.Fprintf(os.Stderr, `{"msg":%q}`+"\n", map[bool]string{true: saysLeads, false: saysFollows}[leads])
			}
		}
	}
}

// What a process says as it begins and ends to lead the cluster: to place streams, and to judge requests about them.
const (
	saysLeads   = "leads the cluster"
	saysFollows = "follows in the cluster"
)

// natsServers is one NATS server, or a cluster, in processes of their own. Member i keeps its name, ports and data.
type natsServers struct {
	h       *home
	configs []natsd.Config
	nodes   []*process
	url     string
	place   place
}

// place is where the members are: all on this machine's loopback, or each somewhere of its own.
type place interface {
	host(i int) string
	command() []string // before that of a member
	plug(i int, p *process)
}

type loopback struct{}

func (loopback) host(int) string    { return "127.0.0.1" }
func (loopback) command() []string  { return nil }
func (loopback) plug(int, *process) {}

// startNATS starts n members and returns when all take requests.
func startNATS(h *home, n int) *natsServers {
	h.t.Helper()
	return startNATSIn(h, n, loopback{})
}

func startNATSIn(h *home, n int, at place) *natsServers {
	h.t.Helper()
	c := &natsServers{h: h, configs: make([]natsd.Config, n), nodes: make([]*process, n), place: at}
	ports := freePorts(h.t, 2*n)
	var peers, urls []string
	for i := range n {
		urls = append(urls, fmt.Sprintf("nats://%s:%d", at.host(i), ports[i]))
		peers = append(peers, fmt.Sprintf("%s:%d", at.host(i), ports[n+i]))
	}
	for i := range n {
		c.configs[i] = natsd.Config{Name: fmt.Sprintf("n%d", i+1), Host: at.host(i), StoreDir: filepath.Join(h.dir, fmt.Sprintf("n%d", i+1)), Port: ports[i]}
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
	command := append(c.place.command(), self)
	p, out := c.h.run(c.configs[i].Name, command[0], []string{envNode + "=" + string(description)}, command[1:]...)
	c.nodes[i] = p
	c.place.plug(i, p)
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

// meta is the member that leads the cluster, once one says so.
func (c *natsServers) meta() (leads int) {
	c.h.t.Helper()
	poll(c.h.t, "a leader of the cluster", func() bool {
		leads = slices.IndexFunc(c.nodes, func(p *process) bool { return p != nil && p.lastSaid(saysLeads, saysFollows) == saysLeads })
		return leads >= 0
	})
	return leads
}
