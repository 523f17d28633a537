package storm_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// envNetns says that the test runs in a network of its own (see isolated).
const envNetns = "JOBLEDGER_STORM_NETNS"

// network is a bridge with a cable to each NATS server, which has a network namespace of its own. All of it lives in
// the namespace of the test's process, and is gone with it.
type network struct{ t *testing.T }

const (
	netPrefix = "10.99.0."
	netBridge = "bridge"
	// netWait is what a server's process does until its cable is there, and the server then.
	netWait = `ip link set lo up; until ip -4 addr show dev eth0 2>/dev/null | grep -q inet; do sleep 0.05; done; exec "$0"`
)

// isolated runs a test again in a process with a network namespace of its own, where that may be made, and reports
// what it said; true in that process. Proxies cannot stand in for it: servers tell each other where they are, and
// connect past them.
func isolated(t *testing.T) bool {
	t.Helper()
	if os.Getenv(envNetns) != "" {
		return true
	}
	for _, program := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("a network namespace for each server needs iproute2 and util-linux: %v", err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", "--net", "ip", "link", "add", "name", "probe", "type", "bridge").CombinedOutput(); err != nil {
		t.Skipf("a network namespace for each server needs the right to make one: %v: %s", err, out)
	}
	args := []string{"--net", "--", os.Args[0], "-test.run=^" + t.Name() + "$", "-test.v", "-test.count=1"}
	if *full {
		args = append(args, "-full")
	}
	args = append(args, fmt.Sprint("-jobs=", *jobsFlag), fmt.Sprint("-seed=", *seedFlag))
	c := exec.CommandContext(t.Context(), "unshare", args...)
	c.Env, c.SysProcAttr = append(os.Environ(), envNetns+"=1", envBinary+"="+binary), childAttr()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = c.Stdout
	started := make(chan error)
	forker <- func() { started <- c.Start() }
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Buffer(nil, 1<<20); lines.Scan(); {
		t.Log(lines.Text())
	}
	if err := c.Wait(); err != nil {
		t.Errorf("in a network of its own: %v", err)
	}
	return false
}

// newNetwork lays the bridge.
func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t}
	n.ip("link", "set", "lo", "up")
	n.ip("link", "add", "name", netBridge, "type", "bridge")
	n.ip("addr", "add", netPrefix+"1/24", "dev", netBridge)
	n.ip("link", "set", netBridge, "up")
	return n
}

func (n *network) host(i int) string  { return fmt.Sprint(netPrefix, 10+i) }
func (n *network) cable(i int) string { return fmt.Sprint("cable", i) }
func (n *network) ip(args ...string)  { n.run("ip", args...) }
func (n *network) cut(i int)          { n.ip("link", "set", n.cable(i), "down") }
func (n *network) heal(i int)         { n.ip("link", "set", n.cable(i), "up") }
func (n *network) command() []string  { return []string{"unshare", "--net", "--", "sh", "-c", netWait} }

func (n *network) run(program string, args ...string) {
	n.t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
}

// plug gives server i, whose process waits for it, a cable to the bridge.
func (n *network) plug(i int, p *process) {
	n.t.Helper()
	pid := fmt.Sprint(p.cmd.Process.Pid)
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		n.t.Fatal(err)
	}
	poll(n.t, p.name+"'s namespace", func() bool {
		its, err := os.Readlink("/proc/" + pid + "/ns/net")
		return err == nil && its != own
	})
	_ = exec.Command("ip", "link", "del", n.cable(i)).Run() // gone with the server's last life, as a rule
	end := fmt.Sprint("end", i)
	n.ip("link", "add", "name", n.cable(i), "type", "veth", "peer", "name", end)
	n.ip("link", "set", n.cable(i), "master", netBridge, "up")
	n.ip("link", "set", end, "netns", pid, "name", "eth0")
	n.run("nsenter", "-t", pid, "-n", "ip", "link", "set", "eth0", "up")
	n.run("nsenter", "-t", pid, "-n", "ip", "addr", "add", n.host(i)+"/24", "dev", "eth0")
}
