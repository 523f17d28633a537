package natsd_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/internal/natsd"
)

// Three members form a cluster, an R3 stream goes on without the one that led
// it, and that one comes back with everything.
func TestClusterSurvivesItsLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take seconds")
	}
	ctx := testCtx(t)
	c, err := natsd.StartCluster(t.TempDir(), 3, natsd.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Shutdown)

	nc, err := nats.Connect(c.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	j := js(t, nc)
	stream, err := j.CreateStream(ctx, jetstream.StreamConfig{Name: "EV", Subjects: []string{"ev"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	publish(ctx, t, j)

	leader := c.ByName(stream.CachedInfo().Cluster.Leader)
	if leader < 0 {
		t.Fatalf("unknown leader %q", stream.CachedInfo().Cluster.Leader)
	}
	c.Stop(leader)
	publish(ctx, t, j)

	if err := c.Restart(leader); err != nil {
		t.Fatal(err)
	}
	if err := c.Server(leader).WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	back := inProcess(t, c.Server(leader))
	untilAnswered(ctx, t, func(try context.Context) error {
		stream, err = back.Stream(try, "EV")
		return err
	})
	if got := stream.CachedInfo().State.LastSeq; got < 2 {
		t.Errorf("the stream ends at %d, want at least 2", got)
	}
}

// publish stores one message.
func publish(ctx context.Context, t *testing.T, j jetstream.JetStream) {
	t.Helper()
	untilAnswered(ctx, t, func(try context.Context) error {
		_, err := j.Publish(try, "ev", []byte("x"))
		return err
	})
}

// untilAnswered makes a request again while an election runs: requests that no
// leader hears are dropped in silence.
func untilAnswered(ctx context.Context, t *testing.T, request func(try context.Context) error) {
	t.Helper()
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		err := request(try)
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}
