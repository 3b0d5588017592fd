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

// eigenvectors gives the last of all probes, whose basis is in s, its Eigenvectors: of the eigenvalues on which the probes agree, those that
// are Simple and that it has converged to, along its own direction. Where there are more than Options.Eigenvectors: the largest
// and the smallest, then those of largest modulus.
func (r *run[T]) eigenvectors(probes []Probe, s *state[T]) {
	type vector struct {
		value float64
		basis []float64 // in the basis
	}
	e := Agree(probes, r.n, r.o.Storage.ProductError(r.o.ProductError))
	pairs := s.probe.pairs(r.n, e.Norm, e.Rounding)
	var found []vector // descending
	for _, v := range e.List {
		at := slices.IndexFunc(pairs, func(p pair) bool { return p.residual <= convergedGap*p.gap && e.near(&p, v) })
		if v.Simple && at >= 0 {
			found = append(found, vector{v.Value, pairs[at].vector})
		}
	}
	if most := r.o.Eigenvectors(r.products); len(found) > most {
		inner := found[1 : len(found)-1]
		slices.SortStableFunc(inner, func(a, b vector) int { return cmp.Compare(math.Abs(b.value), math.Abs(a.value)) })
		found = append([]vector{found[0], found[len(found)-1]}, inner...)[:most]
	}
	s.probe.Eigenvectors = make([]Eigenvector, len(found))
	r.team.do(len(found), func(i int) {
		v := Eigenvector{found[i].value, make([]float64, r.n)}
		combine(v.Vector, s.columns, found[i].basis)
		s.probe.Eigenvectors[i] = v
	})
}
