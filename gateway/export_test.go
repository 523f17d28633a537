package gateway

import "strings"

// Waiting is how many long polls are held.
func (g *Gateway) Waiting() int { return len(g.waits) }

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
