package main

import (
	"fmt"
	"sync"
	"time"
)

// liveLineEvery is the least time between two looks of a line that shows progress.
const liveLineEvery = 100 * time.Millisecond

// liveLine is one line on a terminal that says how far a command is. Where stderr is no terminal it says nothing.
// Several goroutines may set it.
type liveLine struct {
	*program
	on bool

	mu    sync.Mutex
	drawn time.Time
}

func (p *program) newLiveLine() *liveLine {
	return &liveLine{program: p, on: !p.flags.JSON && p.IsTerminal(p.Stderr) && p.Getenv("TERM") != "dumb"}
}

// set shows a text, unless one was shown just now.
func (l *liveLine) set(text func() string) {
	if !l.on {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.drawn) >= liveLineEvery {
		l.drawn = now
		fmt.Fprint(l.Stderr, eraseLine+"  "+text())
	}
}

// now shows a text at once, for what follows may take a while.
func (l *liveLine) now(text string) {
	l.mu.Lock()
	l.drawn = time.Time{}
	l.mu.Unlock()
	l.set(func() string { return text })
}

// clear removes the line, for what comes after it.
func (l *liveLine) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on && !l.drawn.IsZero() {
		fmt.Fprint(l.Stderr, eraseLine)
	}
}
