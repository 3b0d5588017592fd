package exec

// Level gives every thread as much working memory as any has needed so far, here and in the programs beside p. Which thread takes which
// part, and which program which batch, is left to chance, so that without it one could meet its first large part, and allocate, after any
// number of runs.
func (p *Program[T]) Level(beside ...*Program[T]) {
	first := p.workers[0]
	match := func(from bool) {
		for _, w := range p.workers[1:] {
			first.exchange(w, from)
		}
		for _, b := range beside {
			first.exchange(b.workers[0], from)
		}
	}
	match(true)
	match(false)
}

// exchange makes w have as much as other, or the other way round.
func (w *worker[T]) exchange(other *worker[T], from bool) {
	if !from {
		w, other = other, w
	}
	w.ws.Match(&other.ws)
	if len(w.sums) < len(other.sums) {
		w.sums = make([]float64, len(other.sums))
	}
}
