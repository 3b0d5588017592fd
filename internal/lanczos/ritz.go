package lanczos

import (
	"math"

	"gonum.org/v1/gonum/lapack"
	"gonum.org/v1/gonum/lapack/gonum"

	"hessdens/internal/kernel"
)

// tridiagonal decomposes T = S Θ Sᵀ. It returns Θ ascending and S by rows: s[i*m+j] is entry i of vector j.
//
// T is scaled by a power of two first, so that the thresholds inside the decomposition, and with them
// every bit of S, do not depend on the scale of T.
func tridiagonal(alpha, beta []float64) (theta, s []float64, ok bool) {
	m := len(alpha)
	largest := 0.0
	for _, x := range alpha {
		largest = max(largest, math.Abs(x))
	}
	for _, x := range beta {
		largest = max(largest, math.Abs(x))
	}
	_, exp := math.Frexp(largest)
	theta = make([]float64, m)
	e := make([]float64, max(0, m-1))
	for i, x := range alpha {
		theta[i] = math.Ldexp(x, -exp)
	}
	for i := range e {
		e[i] = math.Ldexp(beta[i], -exp)
	}
	s = make([]float64, m*m)
	ok = gonum.Implementation{}.Dsteqr(lapack.EVTridiag, m, theta, e, s, m, make([]float64, max(1, 2*m-2)))
	for i := range theta {
		theta[i] = math.Ldexp(theta[i], exp)
	}
	return theta, s, ok
}

// decompose fills Nodes, Weights and Residuals from Alpha, Beta and BetaLast.
func (p *Probe) decompose() bool {
	m := len(p.Alpha)
	theta, s, ok := tridiagonal(p.Alpha, p.Beta)
	if !ok {
		return false
	}
	p.Nodes = theta
	p.first, p.last = s[:m:m], s[(m-1)*m:]
	p.Weights = make([]float64, m)
	p.Residuals = make([]float64, m)
	for i := range m {
		p.Weights[i] = p.first[i] * p.first[i]
		p.Residuals[i] = math.Abs(p.BetaLast * p.last[i])
	}
	return true
}

// RitzVector sets dst = Q S e_i, the Ritz vector of node i, of length 1. It needs Options.KeepBasis.
func (p *Probe) RitzVector(dst []float64, i int) {
	m := len(p.Alpha)
	if len(p.Basis) != m {
		panic(noBasis)
	}
	if len(dst) != len(p.Basis[0]) {
		panic(badLength)
	}
	_, s, ok := tridiagonal(p.Alpha, p.Beta)
	if !ok {
		panic("lanczos: a decomposition that succeeded before fails")
	}
	c := make([]float64, m)
	for j := range c {
		c[j] = -s[j*m+i]
	}
	clear(dst)
	for b := 0; b < len(dst); b += blockRows {
		kernel.Minus(dst[b:min(b+blockRows, len(dst))], c, p.Basis, b)
	}
}

// FromQuadrature makes a probe of what a result file keeps of it: nodes ascending, weights, β_m. The last
// components of the vectors of T, and with them the residuals, follow from
//
//	S_1i S_mi = β_1 ⋯ β_(m−1) / Π_(j≠i) (θ_i − θ_j),   Σ_i S_mi² = 1,
//
// taken in logarithms. Alpha and Beta stay empty. The slices are kept, not copied.
func FromQuadrature(index int, nodes, weights []float64, betaLast float64) Probe {
	m := len(nodes)
	if m == 0 || len(weights) != m {
		panic(badLength)
	}
	p := Probe{
		Index: index, BetaLast: betaLast, Nodes: nodes, Weights: weights, Exhausted: betaLast == 0,
		Residuals: make([]float64, m), first: make([]float64, m), last: make([]float64, m),
	}
	span := nodes[m-1] - nodes[0]
	if !(span > 0) {
		span = 1
	}
	top := math.Inf(-1)
	for i, x := range nodes {
		p.first[i] = math.Sqrt(weights[i])
		l := -math.Log(max(p.first[i], 1e-160))
		for j, y := range nodes {
			if j != i {
				l -= math.Log(max(math.Abs(x-y)/span, 1e-300))
			}
		}
		p.last[i] = l
		top = max(top, l)
	}
	sum := 0.0
	for i, l := range p.last {
		p.last[i] = math.Exp(l - top)
		sum += p.last[i] * p.last[i]
	}
	sum = math.Sqrt(sum)
	for i := range p.last {
		p.last[i] /= sum
		if (m-1-i)%2 == 1 {
			p.last[i] = -p.last[i]
		}
		p.Residuals[i] = math.Abs(betaLast * p.last[i])
	}
	return p
}
