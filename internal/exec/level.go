package exec

// Level gives every thread as much working memory as any has needed so far, here and in the programs beside p. Which thread takes which
// part, and which program which batch, is left to chance, so that without it one could meet its first large part, and allocate, after any
// number of runs.
func (p *Program[T]) Level(beside ...*Program[T]) {
	first := p.workers[0]
	for _, w := range p.workers[1:] {
		first.match(w)
	}
	for _, b := range beside {
		first.match(b.workers[0])
	}
	for _, w := range p.workers[1:] {
		w.match(first)
	}
	for _, b := range beside {
		b.workers[0].match(first)
	}
}

func (w *worker[T]) match(other *worker[T]) {
	w.ws.Match(&other.ws)
	if len(w.sums) < len(other.sums) {
		w.sums = make([]float64, len(other.sums))
	}
}
