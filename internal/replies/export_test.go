package replies

// Waiting is how many requests wait for an answer.
func Waiting(x *Mux) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.waiting)
}
