// Package density turns the quadratures of probes into a spectrum: the smoothed density, the numbers that
// need no smoothing, and the distances between two spectra.
package density

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"hessdens/internal/lanczos"
)

// Messages of panics: a caller's bug, never bad data.
const (
	badLength = "density: slice lengths do not match"
	empty     = "density: no nodes"
	badSigma2 = "density: variance of the kernel is not positive and finite"
)

// ErrTooFine says that a curve cannot be drawn with so narrow a kernel.
var ErrTooFine = errors.New("kernel is too narrow for this spectrum")

// Measure is a spectral measure: atoms at Nodes, ascending, with Weights that sum to 1.
type Measure struct {
	Nodes, Weights []float64
}

// NewMeasure makes a measure of atoms in any order. It copies them.
func NewMeasure(nodes, weights []float64) Measure {
	if len(nodes) != len(weights) {
		panic(badLength)
	}
	order := make([]int, len(nodes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(nodes[i], nodes[j]) })
	m := Measure{make([]float64, len(nodes)), make([]float64, len(nodes))}
	for at, i := range order {
		m.Nodes[at], m.Weights[at] = nodes[i], weights[i]
	}
	return m
}

// Pool returns the mean of k measures.
func Pool(measures ...Measure) Measure {
	if len(measures) == 0 {
		panic(empty)
	}
	var nodes, weights []float64
	for _, m := range measures {
		nodes = append(nodes, m.Nodes...)
		for _, w := range m.Weights {
			weights = append(weights, w/float64(len(measures)))
		}
	}
	return NewMeasure(nodes, weights)
}

// FromProbes returns the mean quadrature of probes.
func FromProbes(probes []lanczos.Probe) Measure { return Pool(EachProbe(probes)...) }

// EachProbe returns the quadrature of each probe. It shares their slices.
func EachProbe(probes []lanczos.Probe) []Measure {
	each := make([]Measure, len(probes))
	for i, p := range probes {
		each[i] = Measure{p.Nodes, p.Weights}
	}
	return each
}

// Exact returns the measure of a whole spectrum: weight 1/n for each of n eigenvalues, in any order.
func Exact(eigenvalues []float64) Measure {
	if len(eigenvalues) == 0 {
		panic(empty)
	}
	m := Measure{slices.Sorted(slices.Values(eigenvalues)), make([]float64, len(eigenvalues))}
	for i := range m.Weights {
		m.Weights[i] = 1 / float64(len(eigenvalues))
	}
	return m
}

// Min returns the smallest node.
func (m Measure) Min() float64 { return m.Nodes[0] }

// Max returns the largest node.
func (m Measure) Max() float64 { return m.Nodes[len(m.Nodes)-1] }

// Zero reports whether every node is 0: the measure of the zero operator.
func (m Measure) Zero() bool { return m.Min() == 0 && m.Max() == 0 }

// Mass returns the weight of the nodes within [lo, hi].
func (m Measure) Mass(lo, hi float64) float64 {
	i, _ := slices.BinarySearch(m.Nodes, lo)
	sum := 0.0
	for ; i < len(m.Nodes) && m.Nodes[i] <= hi; i++ {
		sum += m.Weights[i]
	}
	return sum
}

// W1 returns the Wasserstein-1 distance of two measures, ∫ |F_a − F_b| dλ over their distribution functions:
// exact for the atoms, in units of λ.
func W1(a, b Measure) float64 {
	var i, j int
	var fa, fb, at, sum float64
	for i < len(a.Nodes) || j < len(b.Nodes) {
		x := math.Inf(1)
		if i < len(a.Nodes) {
			x = a.Nodes[i]
		}
		if j < len(b.Nodes) {
			x = min(x, b.Nodes[j])
		}
		if i+j > 0 {
			sum += math.Abs(fa-fb) * (x - at)
		}
		for i < len(a.Nodes) && a.Nodes[i] == x {
			fa += a.Weights[i]
			i++
		}
		for j < len(b.Nodes) && b.Nodes[j] == x {
			fb += b.Weights[j]
			j++
		}
		at = x
	}
	return sum
}
