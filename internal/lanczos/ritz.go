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
	theta, e, exp := scaled(alpha, beta)
	s = make([]float64, m*m)
	ok = gonum.Implementation{}.Dsteqr(lapack.EVTridiag, m, theta, e, s, m, make([]float64, max(1, 2*m-2)))
	for i := range theta {
		theta[i] = math.Ldexp(theta[i], exp)
	}
	return theta, s, ok
}

// scaled copies T, divided by a power of two 2^exp that brings it near 1.
func scaled(alpha, beta []float64) (d, e []float64, exp int) {
	largest := 0.0
	for _, x := range alpha {
		largest = max(largest, math.Abs(x))
	}
	for _, x := range beta {
		largest = max(largest, math.Abs(x))
	}
	_, exp = math.Frexp(largest)
	d, e = make([]float64, len(alpha)), make([]float64, len(beta))
	for i, x := range alpha {
		d[i] = math.Ldexp(x, -exp)
	}
	for i, x := range beta {
		e[i] = math.Ldexp(x, -exp)
	}
	return d, e, exp
}

// decompose fills Nodes, Weights and Residuals from Alpha, Beta and BetaLast.
func (p *Probe) decompose() bool {
	m := len(p.Alpha)
	theta, s, ok := tridiagonal(p.Alpha, p.Beta)
	if !ok {
		return false
	}
	p.Nodes, p.s = theta, s
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
	if len(p.Basis) != len(p.Alpha) {
		panic(noBasis)
	}
	if len(dst) != len(p.Basis[0]) {
		panic(badLength)
	}
	combine(dst, p.Basis, p.ritz(i))
}

// ritz returns the vector of node i in the basis.
func (p *Probe) ritz(i int) []float64 {
	m := len(p.Alpha)
	c := make([]float64, m)
	for j := range c {
		c[j] = p.s[j*m+i]
	}
	return c
}

// combine sets dst to the sum of the first columns of a basis times c.
func combine[T kernel.Float](dst []float64, basis [][]T, c []float64) {
	minus := make([]float64, len(c))
	for j, x := range c {
		minus[j] = -x
	}
	clear(dst)
	for b := 0; b < len(dst); b += blockRows {
		kernel.Minus(dst[b:min(b+blockRows, len(dst))], minus, basis[:len(c)], b)
	}
}

// outermost returns the node of largest modulus.
func (p *Probe) outermost() int {
	if last := len(p.Nodes) - 1; -p.Nodes[0] < p.Nodes[last] {
		return last
	}
	return 0
}

// Residual returns ‖y − θx‖, where x is Outermost, θ its node, and y a product A x of another precision.
func (p *Probe) Residual(y []float64) float64 {
	theta, sum := p.Nodes[p.outermost()], 0.0
	for i, x := range p.Outermost {
		sum = math.Hypot(sum, y[i]-theta*x)
	}
	return sum
}
