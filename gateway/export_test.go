package gateway

// Waiting is how many long polls are held.
func (g *Gateway) Waiting() int { return len(g.waits) }
