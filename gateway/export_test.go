package gateway

import (
	"strings"

	"github.com/dartwing/jobledger/schemas"
)

// Waiting is how many long polls are held.
func (g *Gateway) Waiting() int {
	g.seats.mu.Lock()
	defer g.seats.mu.Unlock()
	return g.seats.all
}

// Occupy takes all places that an org may have, until free is called.
func (g *Gateway) Occupy(org schemas.OrgID) (free func()) {
	leaves := make(chan func(), g.turns.ofOrg)
	for range g.turns.ofOrg {
		g.turns.take(asker{org: org, caller: "occupant"}, 0, func(leave func()) { leaves <- leave })
	}
	all := make([]func(), g.turns.ofOrg)
	for i := range all {
		all[i] = <-leaves
	}
	return func() {
		for _, leave := range all {
			leave()
		}
	}
}

// CallerWaits is how many requests of one caller wait at most.
const CallerWaits = lineMax / 2

// SetRing bounds the ring of recent events, for tests.
func (v *Live) SetRing(bytes int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.bytesMax = bytes
}

// Subscriptions is how many there are.
func (v *Live) Subscriptions() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.subscribed
}

// Route is a line of the API, for the document that describes it.
type Route struct {
	Pattern, Endpoint, About, Action string
	Params                           []string
	Creates                          bool
	Takes, Gives, Lines              any
	Media                            string // of another form of the answer
}

// Routes lists the API.
func Routes() (all []Route) {
	about := map[string]*endpoint{}
	for _, ep := range (&Gateway{}).endpoints() {
		about[ep.name] = ep
	}
	for _, rt := range ownRoutes {
		name := rt.pattern[strings.LastIndex(rt.pattern, "/")+1:]
		all = append(all, Route{Pattern: rt.pattern, Endpoint: name, About: rt.about, Action: string(rt.action), Params: rt.query, Takes: rt.takes, Gives: rt.gives, Lines: rt.lines})
	}
	for _, rt := range routes {
		ep := about[rt.endpoint]
		all = append(all, Route{Pattern: rt.pattern, Endpoint: rt.endpoint, About: ep.about, Action: string(ep.action), Params: rt.params(), Creates: rt.status != nil,
			Takes: rt.takes, Gives: rt.gives, Media: rt.media})
	}
	return all
}

// Streams are the routes of server-sent events, and the parameters that they read.
func Streams() (patterns, params []string) { return streams, streamParams }

// Verbs are what stands behind the org in the subjects of all endpoints; * is a name.
func Verbs() (all []string) {
	for _, ep := range (&Gateway{}).endpoints() {
		all = append(all, ep.pattern)
	}
	return all
}
