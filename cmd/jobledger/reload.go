package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
)

// windowsTimeout bounds how long a reload waits for the ledger: a NATS that is being replaced answers within it.
const windowsTimeout = 30 * time.Second

// reload reads a server's configuration again when it is sent SIGHUP, applies what can be applied while it serves, and says
// what cannot. It never ends the server: what would be refused at a start changes nothing.
type reload struct {
	p       *program
	file    string
	log     *zap.Logger
	hangups chan os.Signal

	// What flags and environment say, as it was before the file was read for the first time.
	given serverConfig
	flags commonFlags

	// running is what is in force, by the name in the file. What waits for a restart stays as it was, so that each reload
	// names it.
	running map[string]string
	level   zap.AtomicLevel
	reserve reserveRule
}

// reserveRule is a ledger.SpaceWatchConfig.Reserve that may change.
type reserveRule struct {
	rule atomic.Pointer[func(total int64) int64]
}

func (r *reserveRule) of(total int64) int64 { return (*r.rule.Load())(total) }

func (r *reserveRule) set(text string) {
	rule := ledger.DefaultReserve
	if text != "" {
		rule, _ = parseReserve(text) // checked
	}
	r.rule.Store(&rule)
}

// newReload takes hangups from now on, before cfg is loaded: none ends a server that is about to serve.
func (p *program) newReload(cfg *serverConfig, file string) *reload {
	r := &reload{p: p, file: file, given: *cfg, flags: p.flags, hangups: make(chan os.Signal, 1)} // one that waits stands for all
	signal.Notify(r.hangups, syscall.SIGHUP)
	return r
}

func (r *reload) close() { signal.Stop(r.hangups) }

// loaded notes what a server starts with, and returns its logger.
func (r *reload) loaded(cfg *serverConfig) *zap.Logger {
	r.running = map[string]string{}
	for _, k := range cfg.keys(&r.p.flags) {
		r.running[k.name] = k.setting.Value
	}
	r.level = zap.NewAtomicLevelAt(r.p.logLevel(zap.InfoLevel))
	r.reserve.set(cfg.reserve.Value)
	r.p.level = &r.level
	r.log = r.p.logger(zap.InfoLevel)
	return r.log
}

// follow reloads at each hangup until ctx ends.
func (r *reload) follow(ctx context.Context, setWindows func(ctx context.Context, hot, retention time.Duration) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hangups:
			r.again(ctx, setWindows)
		}
	}
}

// again is one reload.
func (r *reload) again(ctx context.Context, setWindows func(ctx context.Context, hot, retention time.Duration) error) {
	if r.file == "" { // neither flags nor environment of a process change
		r.log.Info("hangup: there is no configuration file to read again; certificates are, without one, when their files change")
		return
	}
	next, p := r.given, &program{Main: r.p.Main, flags: r.flags}
	if _, problems := next.load(p, r.file); len(problems) > 0 {
		r.log.Error("hangup: the configuration is refused, the one from before stays in force", zap.Error(refuseConfig(r.file, problems)))
		return
	}
	// A reload is told at the level from before or at the new one, whichever tells more.
	level := p.logLevel(zap.InfoLevel)
	r.level.SetLevel(min(r.level.Level(), level))
	defer r.level.SetLevel(level)

	values, changed, restart := r.compare(&next, &p.flags)
	if changed["hot_window"] != "" || changed["retention"] != "" {
		hot, _ := next.windows()
		if err := within(ctx, windowsTimeout, func(ctx context.Context) error { return setWindows(ctx, hot, next.kept()) }); err != nil {
			r.log.Error("hangup: hot_window and retention could not be set, send another when the cause is gone", zap.Error(err))
			for _, name := range []string{"hot_window", "retention"} {
				delete(changed, name)
				values[name] = r.running[name]
			}
		}
	}
	r.reserve.set(next.reserve.Value)
	r.running = values
	r.log.Info("hangup: the configuration was read again; certificates are, without one, when their files change",
		zap.String("file", r.file), zap.Strings("applied", inOrder(&next, &p.flags, changed)))
	if len(restart) > 0 {
		r.log.Warn("hangup: these changes need a restart", zap.String("file", r.file), zap.Strings("changes", restart))
	}
}

// compare tells what is in force once the changes that can be applied are, and those and the others in words.
func (r *reload) compare(next *serverConfig, flags *commonFlags) (values, changed map[string]string, restart []string) {
	values, changed = maps.Clone(r.running), map[string]string{}
	for _, k := range next.keys(flags) {
		was, is := r.running[k.name], k.setting.Value
		if was == is {
			continue
		}
		text := k.changeText(was, is)
		if !k.live {
			restart = append(restart, text)
			continue
		}
		values[k.name] = is
		switch {
		case k.name == "log_level" && flags.Trace:
			text += ", but --trace stands above it"
		case is == "" && k.name != "reserve":
			text += ": the ledger keeps what it has"
		}
		changed[k.name] = text
	}
	return values, changed, restart
}

// changeText names a change, without secrets.
func (k *configKey) changeText(was, is string) string {
	show := func(s string) string {
		switch {
		case s == "":
			return "(not set)"
		case k.name == "user":
			return hidden(s) // a token where there is, or was, no password
		case k.mask != nil:
			return k.mask(s)
		}
		return s
	}
	if from, to := show(was), show(is); from != to {
		return fmt.Sprintf("%s: %s -> %s", k.name, from, to)
	}
	return k.name + ": its value is not shown"
}

// inOrder lists texts as the settings they are of.
func inOrder(cfg *serverConfig, flags *commonFlags, texts map[string]string) []string {
	list := []string{}
	for _, k := range cfg.keys(flags) {
		if text := texts[k.name]; text != "" {
			list = append(list, text)
		}
	}
	return list
}

// within gives do a time.
func within(ctx context.Context, d time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return do(ctx)
}
