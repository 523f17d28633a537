package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	yearsBacklog = 5_000 // jobs unfinished at a time, at most; more than one SubmitMany takes
	yearsSpans   = 20    // stretches of the run that are compared
)

// span is how one stretch of the run went.
type span struct {
	rate   float64       // jobs finished a second
	cpu    time.Duration // of the server, a job
	own    time.Duration // of this process, a job: always the same work, so it tells how fast the machine was
	memory level         // of the server meanwhile
	moved  schemas.Seq
	ended  time.Duration // since the run began
}

// level is how much there was of something over a time. Memory goes up and down with the collector and the purges, so that
// one look tells little.
type level struct {
	sum, most, looks int64
}

func (l *level) look(now int64) {
	l.sum, l.most, l.looks = l.sum+now, max(l.most, now), l.looks+1
}

func (l *level) mean() int64 { return l.sum / max(1, l.looks) }

// relative is the server's part of a job in units of this process's; 0 where one of them is not known.
func (s span) relative() float64 {
	if s.own <= 0 {
		return 0
	}
	return float64(s.cpu) / float64(s.own)
}

// years: jobs come and go for many hot windows, so that most of them have left for the archive in the end.
// What a server needs follows the window, not all that ever was.
func years(ctx context.Context, b *bed) error {
	if err := b.registerType(ctx, schemas.TypeSettings{}); err != nil {
		return err
	}
	for i := range b.orgs() {
		if err := b.org(ctx, small(i), 1, 0); err != nil {
			return err
		}
	}
	spans, err := b.flow(ctx)
	if err != nil {
		return err
	}
	first, last := spans[0], spans[len(spans)-1]
	b.add("jobs finished a second, first twentieth", first.rate, "jobs/s")
	b.add("  last twentieth", last.rate, "jobs/s")
	b.aim("  last / first", last.rate/first.rate, "", ">= 0.95", last.rate >= 0.95*first.rate)
	if behind, ok := behindWindow(spans, b.window); ok {
		b.add("  last / first behind the first window", last.rate/behind.rate, "")
	}
	if first.cpu > 0 {
		b.add("  server CPU a job, last / first", float64(last.cpu)/float64(first.cpu), "")
		b.add("  server CPU a job / this side's, first twentieth", first.relative(), "")
		b.add("    last twentieth", last.relative(), "")
	}
	b.settled(spans)
	state, err := b.look.Archived(ctx)
	if err != nil {
		return err
	}
	b.add("events in the archive", float64(state.Events), "")
	b.add("  of all, that is", float64(state.Through.Seq)/float64(max(1, last.moved)), "")
	if size := folderSize(b.store); size > 0 {
		b.add("files of the server, a job", float64(size)/float64(b.jobs), "bytes")
	}
	if err := b.refold(ctx); err != nil { // at once: what is copied and checked for a while is not hot any more
		return err
	}
	return b.copied(ctx)
}

// behindWindow is the first stretch that began when the hot window was over, and with it the moving of what left; false if
// that was the last one, or none.
func behindWindow(spans []span, window time.Duration) (span, bool) {
	for i := 1; i < len(spans)-1; i++ {
		if spans[i-1].ended >= window {
			return spans[i], true
		}
	}
	return span{}, false
}

// settled says how the server's memory went from the end of the second window on: by then what was moved and what came
// balance. It compares what stretches took in the middle; the most of any moment is told beside it.
func (b *bed) settled(spans []span) {
	var least, most, top int64
	for _, s := range spans {
		mean := s.memory.mean()
		if s.ended < 2*b.window || mean == 0 {
			continue
		}
		if least == 0 || mean < least {
			least = mean
		}
		most, top = max(most, mean), max(top, s.memory.most)
	}
	if least == 0 {
		b.add("  NO SECOND WINDOW: the run was shorter, it took", spans[len(spans)-1].ended.Seconds(), "s")
		return
	}
	middle := float64(least+most) / 2
	b.add("server memory (RSS), from the second window on, mean", middle/(1<<20), "MiB")
	b.add("  at most, at any moment", float64(top)/(1<<20), "MiB")
	apart := float64(most-least) / 2 / middle
	b.aim("  means of stretches away from their middle, at most", 100*apart, "%", "<= 10", apart <= 0.1)
}

// flow submits and works off all jobs, a bounded number at a time, at the pace that was asked for.
func (b *bed) flow(ctx context.Context) ([]span, error) {
	c, err := b.work(ctx, 0)
	if err != nil {
		return nil, err
	}
	bulk, steady := max(b.bulk, 1), newPace(b.rate)
	var next atomic.Int64
	group, submitting := errgroup.WithContext(ctx)
	for range submitters {
		group.Go(func() error {
			for {
				end := next.Add(int64(bulk))
				first := int(end) - bulk
				n := min(bulk, b.jobs-first)
				if n <= 0 {
					return nil
				}
				for end-c.ended.Load() > yearsBacklog {
					if err := rest(submitting, lookEvery); err != nil {
						return err
					}
				}
				if err := steady.wait(submitting, n); err != nil {
					return err
				}
				if err := b.offer(submitting, first, n); err != nil {
					return err
				}
			}
		})
	}
	begin := time.Now()
	spans, err := b.watch(submitting, c, begin)
	if failed := group.Wait(); failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, err
	}
	return spans, c.stop()
}

// offer submits n jobs, the first of which has a number.
func (b *bed) offer(ctx context.Context, first, n int) error {
	requests := make([]ledger.SubmitRequest, n)
	for i := range requests {
		requests[i] = ledger.SubmitRequest{Org: small((first + i) % b.orgs()), Type: typeName, Args: distinct(), NoDedup: true, Meta: ledger.Meta{Actor: actor}}
	}
	if n == 1 {
		_, err := b.in.Submit(ctx, requests[0])
		return err
	}
	outcomes, err := b.in.SubmitMany(ctx, requests)
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		if o.Err != nil {
			return o.Err
		}
	}
	return nil
}

// distinct are the args of a job that nothing makes smaller: what years of jobs take of a disk is to be told too high rather
// than too low.
func distinct() json.RawMessage {
	const raw = argsBytes / 4 * 3 // as base64 they and their quotes are argsBytes and two
	b := make([]byte, 0, raw+8)
	for len(b) < raw {
		b = binary.LittleEndian.AppendUint64(b, rand.Uint64())
	}
	return append(base64.StdEncoding.AppendEncode([]byte{'"'}, b[:raw]), '"')
}

// watch follows the run, stretch by stretch.
func (b *bed) watch(ctx context.Context, c *crew, begin time.Time) ([]span, error) {
	var spans []span
	used, ownUsed := b.server.cpu(), cpuOf(os.Getpid())
	for k, since := 1, begin; k <= yearsSpans; k++ {
		before, target := int64(b.jobs*(k-1)/yearsSpans), int64(b.jobs*k/yearsSpans)
		var memory level
		if err := c.await(ctx, "the next stretch", func() bool {
			now, _ := b.server.memory()
			memory.look(now)
			return c.ended.Load() >= target
		}); err != nil {
			return nil, err
		}
		end, err := b.look.End(ctx)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		s := span{rate: float64(target-before) / now.Sub(since).Seconds(), moved: end.Seq, ended: now.Sub(begin), memory: memory}
		total, own := b.server.cpu(), cpuOf(os.Getpid())
		s.cpu, used = (total-used)/time.Duration(target-before), total
		s.own, ownUsed = (own-ownUsed)/time.Duration(target-before), own
		state, err := b.look.Archived(ctx)
		if err != nil {
			return nil, err
		}
		b.say("%2d/%d: %.0f jobs a second, %d MiB (at most %d), %s of the server each and %s of this side, %d of %d events in the archive", k, yearsSpans, s.rate, s.memory.mean()>>20, s.memory.most>>20, s.cpu, s.own, state.Through.Seq, end.Seq)
		spans, since = append(spans, s), now
	}
	return spans, nil
}

// folderSize is what the files below a folder occupy, about: the server goes on writing. 0 where they cannot be read.
func folderSize(dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error { // what is gone meanwhile is not counted
		if err != nil || d.IsDir() {
			return nil
		}
		if i, err := d.Info(); err == nil {
			size += i.Size()
		}
		return nil
	})
	return size
}
