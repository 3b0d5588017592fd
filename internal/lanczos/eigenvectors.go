package lanczos

import (
	"cmp"
	"math"
	"slices"
)

// Eigenvector is a Ritz vector of length 1 of an eigenvalue that Agree finds, as it stands there.
type Eigenvector struct {
	Value  float64
	Vector []float64
}

// eigenvectors gives the probes whose bases are in states their Eigenvectors: of the eigenvalues on which all probes agree, those that are
// Simple and that one of states has converged to. Where there are more than Options.Eigenvectors: the largest and the smallest, then those of
// largest modulus. Each is along the probe's own direction.
func (r *run[T]) eigenvectors(probes []Probe, states []*state[T]) {
	e := Agree(probes, r.n, r.o.Storage.ProductError(r.o.ProductError))
	type vector struct {
		of    *state[T]
		pair  pair
		value float64
	}
	var found []vector
	pairs := make([][]pair, len(states))
	for i, s := range states {
		s.probe.Eigenvectors = nil
		pairs[i] = s.probe.pairs(r.n, e.Norm, e.Rounding)
	}
	for _, v := range e.List {
		best := vector{value: v.Value}
		for i, s := range states {
			for _, p := range pairs[i] {
				if p.residual <= convergedGap*p.gap && e.near(&p, v) && (best.of == nil || p.residual < best.pair.residual) {
					best.of, best.pair = s, p
				}
			}
		}
		if v.Simple && best.of != nil {
			found = append(found, best)
		}
	}
	if most := r.o.Eigenvectors(r.products); len(found) > most { // found is descending
		inner := found[1 : len(found)-1]
		slices.SortStableFunc(inner, func(a, b vector) int { return cmp.Compare(math.Abs(b.value), math.Abs(a.value)) })
		found = append([]vector{found[0], found[len(found)-1]}, inner...)[:most]
	}
	vectors := make([]Eigenvector, len(found))
	r.team.do(len(found), func(i int) {
		vectors[i] = Eigenvector{found[i].value, make([]float64, r.n)}
		combine(vectors[i].Vector, found[i].of.columns, found[i].pair.vector)
	})
	for i, v := range vectors {
		p := found[i].of.probe
		p.Eigenvectors = append(p.Eigenvectors, v)
	}
}
