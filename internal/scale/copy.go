package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dartwing/jobledger/internal/backup"
	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	besideRate = 200 // jobs a second beside a backup
	besideOrg  = schemas.OrgID("beside")
	besideJobs = 2_000 // before it, and on the copy behind it
)

// copied copies the ledger while jobs are submitted and worked off, puts the copy into an empty store, has the checker read
// all of it, and works on it.
func (b *bed) copied(ctx context.Context) error {
	folder := filepath.Join(filepath.Dir(b.store), "copy")
	defer func() { _ = os.RemoveAll(folder) }() // the part's own folder goes with all else
	if err := b.backUp(ctx, folder); err != nil {
		return err
	}
	clone := *b
	clone.store, clone.server, clone.in, clone.look = filepath.Join(filepath.Dir(b.store), "restored"), nil, nil, nil
	begin := time.Now()
	if err := putBack(ctx, b, folder, clone.store); err != nil {
		return err
	}
	b.add("put into an empty store, all parts compared", time.Since(begin).Seconds(), "s")
	_ = os.RemoveAll(folder) // room for what follows
	return clone.lives(ctx)
}

// lives starts a server on a copy, works on it, and has the checker read all of it.
func (b *bed) lives(ctx context.Context) error {
	begin := time.Now()
	if err := b.up(ctx); err != nil {
		return err
	}
	defer func() {
		b.disconnect()
		b.server.crash()
		_ = os.RemoveAll(b.store) // the part's folder is above it
	}()
	if err := b.lead(ctx); err != nil {
		return err
	}
	b.add("  the copy: leads after its first start", time.Since(begin).Seconds(), "s")
	if err := b.goesOn(ctx); err != nil {
		return err
	}
	begin = time.Now()
	verdict, err := ledger.Verify(ctx, ledger.VerifyConfig{Ledger: b.look, Limits: true, Full: true})
	if err != nil {
		return err
	}
	text, _ := json.Marshal(verdict)
	b.say("the copy, checked in full in %s: %s", time.Since(begin).Round(time.Second), text)
	if !verdict.OK {
		return errors.New("the checker finds the copy unsound")
	}
	b.add("  events that log verify --full reads, without a problem", float64(verdict.Events), "")
	b.add("  events a second", float64(verdict.Events)/time.Since(begin).Seconds(), "events/s")
	return nil
}

// backUp is the copying. Beside it a job is submitted besideRate times a second, and worked off.
func (b *bed) backUp(ctx context.Context, folder string) error {
	crew, err := b.work(ctx, 0)
	if err != nil {
		return err
	}
	n := min(besideJobs, b.jobs/10)
	idle, err := b.steady(ctx, nil, n)
	if err != nil {
		return err
	}
	var done *backup.Summary
	var failed error
	over, begin := make(chan struct{}), time.Now()
	var took time.Duration
	var copying sync.WaitGroup
	copying.Go(func() {
		defer close(over)
		done, failed = backup.Run(ctx, backup.Config{Ledger: b.look, Logger: b.log, Dir: folder, Version: "scale"})
		took = time.Since(begin)
	})
	beside, err := b.steady(ctx, over, 0)
	copying.Wait()
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	all := int64(len(idle) + len(beside))
	if err := crew.await(ctx, "the jobs beside the backup", func() bool { return crew.ended.Load() >= all }); err != nil {
		return err
	}
	b.add("backup beside 200 jobs a second", took.Seconds(), "s")
	b.add("  bytes of it", float64(done.Bytes)/(1<<30), "GiB")
	b.add("  events in it", float64(done.Events), "")
	b.add("  submit before it: p99", 1000*quantile(idle, 0.99), "ms")
	b.add("  submit beside it: p99", 1000*quantile(beside, 0.99), "ms")
	b.say("copied: %d events, %d MiB in %s", done.Events, done.Bytes>>20, took.Round(time.Second))
	return crew.stop()
}

// steady submits besideRate jobs a second, n of them or until over is closed, and returns what each took.
func (b *bed) steady(ctx context.Context, over <-chan struct{}, n int) ([]time.Duration, error) {
	var took []time.Duration
	begin := time.Now()
	for i := 0; over != nil || i < n; i++ {
		select {
		case <-over: // never, where n says how many
			return took, nil
		default:
		}
		if err := rest(ctx, time.Until(begin.Add(time.Duration(i)*time.Second/besideRate))); err != nil {
			return nil, err
		}
		at := time.Now()
		if _, err := b.in.Submit(ctx, ledger.SubmitRequest{Org: besideOrg, Type: typeName, Args: args, NoDedup: true, Meta: ledger.Meta{Actor: actor}}); err != nil {
			return nil, err
		}
		took = append(took, time.Since(at))
	}
	return took, nil
}

// putBack fills an empty store, as `log restore --store` does.
func putBack(ctx context.Context, b *bed, folder, store string) error {
	srv, err := natsd.Start(natsd.Config{StoreDir: store, DontListen: true, Logger: b.log})
	if err != nil {
		return err
	}
	defer srv.Shutdown()
	nc, err := srv.ConnectInProcess()
	if err != nil {
		return err
	}
	defer nc.Close()
	_, err = backup.Restore(ctx, backup.RestoreConfig{Conn: nc, Logger: b.log, Dir: folder, Replicas: 1})
	return err
}

// goesOn has jobs done on the copy.
func (b *bed) goesOn(ctx context.Context) error {
	crew, err := b.work(ctx, 0)
	if err != nil {
		return err
	}
	n := min(besideJobs, b.jobs/10)
	if _, err := b.steady(ctx, nil, n); err != nil {
		return err
	}
	if err := crew.await(ctx, "the jobs on the copy", func() bool { return crew.of(besideOrg) >= n }); err != nil {
		return fmt.Errorf("the copy does not go on: %w", err)
	}
	b.add("  jobs done on the copy", float64(n), "")
	return crew.stop()
}
