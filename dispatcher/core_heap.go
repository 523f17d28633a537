package dispatcher

// heap is a binary min-heap. What has become void is recognised when it reaches the top, as a rule, and not looked for. It is a type of its own because container/heap boxes every element, and a timer must
// cost no more than its 24 bytes.
type heap[T any] struct {
	less  func(a, b T) bool
	items []T
}

func (h *heap[T]) len() int { return len(h.items) }

// top returns the least element; the heap must not be empty.
func (h *heap[T]) top() T { return h.items[0] }

// growSlowly is the size from which a heap grows by an eighth.
const growSlowly = 4096

func (h *heap[T]) push(v T) {
	if n := len(h.items); n == cap(h.items) && n >= growSlowly {
		h.items = append(make([]T, 0, n+n/8), h.items...) // append would leave a quarter unused
	}
	h.items = append(h.items, v)
	h.up(len(h.items) - 1)
}

func (h *heap[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(h.items[i], h.items[parent]) {
			return
		}
		h.items[i], h.items[parent] = h.items[parent], h.items[i]
		i = parent
	}
}

// remove takes the element at index i out.
func (h *heap[T]) remove(i int) {
	last := len(h.items) - 1
	h.items[i] = h.items[last]
	var zero T
	h.items[last] = zero
	h.items = h.items[:last]
	if i < last {
		h.down(i)
		h.up(i)
	}
}

func (h *heap[T]) pop() T {
	v := h.items[0]
	last := len(h.items) - 1
	h.items[0] = h.items[last]
	var zero T
	h.items[last] = zero
	h.items = h.items[:last]
	h.down(0)
	return v
}

// fixTop restores the order after the top's key has grown.
func (h *heap[T]) fixTop() { h.down(0) }

// filter keeps the elements for which keep is true.
func (h *heap[T]) filter(keep func(T) bool) {
	kept := h.items[:0]
	for _, v := range h.items {
		if keep(v) {
			kept = append(kept, v)
		}
	}
	clear(h.items[len(kept):])
	h.items = kept
	for i := len(kept)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

func (h *heap[T]) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h.items); child++ {
			if h.less(h.items[child], h.items[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.items[i], h.items[least] = h.items[least], h.items[i]
		i = least
	}
}
