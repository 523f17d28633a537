package gateway

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
