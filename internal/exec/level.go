package exec

// Level gives every thread as much working memory as any has needed so far. Which thread takes which part is left to chance, so
// that without it one could meet its first large part, and allocate, after any number of runs.
func (p *Program[T]) Level() {
	first := p.workers[0]
	for _, w := range p.workers[1:] {
		first.match(w)
	}
	for _, w := range p.workers[1:] {
		w.match(first)
	}
}

func (w *worker[T]) match(other *worker[T]) {
	w.ws.Match(&other.ws)
	if len(w.sums) < len(other.sums) {
		w.sums = make([]float64, len(other.sums))
	}
}
