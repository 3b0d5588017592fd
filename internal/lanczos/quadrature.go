package lanczos

import (
	"cmp"
	"math"
	"slices"
)

// Leading returns the probe as it was after m steps, 1 ≤ m ≤ len(Alpha), without what needs the basis: Index, Alpha,
// Beta, BetaLast, Nodes, Weights and Residuals.
func (p *Probe) Leading(m int) Probe {
	if m < 1 || m > len(p.Alpha) {
		panic(badSteps)
	}
	q := Probe{Index: p.Index, Alpha: p.Alpha[:m], Beta: p.Beta[:m-1], BetaLast: p.BetaLast, Exhausted: p.Exhausted}
	if m < len(p.Alpha) {
		q.BetaLast, q.Exhausted = p.Beta[m-1], false
	}
	q.ends()
	return q
}

// ends fills Nodes, Weights and Residuals from Alpha, Beta and BetaLast as decompose does, by the implicit QL method on
// the first and the last row of S alone: 30 m² operations instead of 6 m³ (Golub and Welsch 1969; Dubrulle, Martin and
// Wilkinson's imtql2).
func (p *Probe) ends() {
	m := len(p.Alpha)
	d, e, exp := scaled(p.Alpha, p.Beta)
	e = append(e, 0)
	first, last := make([]float64, m), make([]float64, m)
	first[0], last[m-1] = 1, 1
	for l := range m {
		for sweep := 0; ; sweep++ {
			k := l
			for k < m-1 && math.Abs(e[k]) > epsilon/2*(math.Abs(d[k])+math.Abs(d[k+1])) && math.Abs(e[k]) > 0x1p-500 {
				k++
			}
			if k == l || sweep == 60 { // 2 sweeps is what a value takes
				break
			}
			g := (d[l+1] - d[l]) / (2 * e[l])
			r := math.Hypot(g, 1)
			g = d[k] - d[l] + e[l]/(g+math.Copysign(r, g))
			s, c, shift := 1.0, 1.0, 0.0
			i := k - 1
			for ; i >= l; i-- {
				f, b := s*e[i], c*e[i]
				r = math.Hypot(f, g)
				e[i+1] = r
				if r == 0 {
					d[i+1] -= shift
					e[k] = 0
					break
				}
				s, c = f/r, g/r
				g = d[i+1] - shift
				r = (d[i]-g)*s + 2*c*b
				shift = s * r
				d[i+1] = g + shift
				g = c*r - b
				for _, z := range [][]float64{first, last} {
					z[i+1], z[i] = s*z[i]+c*z[i+1], c*z[i]-s*z[i+1]
				}
			}
			if i >= l {
				continue
			}
			d[l] -= shift
			e[l], e[k] = g, 0
		}
	}
	order := make([]int, m)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(d[i], d[j]) })
	p.Nodes, p.Weights, p.Residuals = make([]float64, m), make([]float64, m), make([]float64, m)
	p.first, p.last = make([]float64, m), make([]float64, m)
	for at, i := range order {
		p.Nodes[at] = math.Ldexp(d[i], exp)
		p.first[at], p.last[at] = first[i], last[i]
		p.Weights[at] = first[i] * first[i]
		p.Residuals[at] = math.Abs(p.BetaLast * last[i])
	}
}

// FromQuadrature makes a probe of what a result file keeps of it: nodes ascending, weights, β_m. Alpha and Beta are
// found anew, and with them the residuals. Nodes and weights are kept, not copied.
func FromQuadrature(index int, nodes, weights []float64, betaLast float64) Probe {
	if len(nodes) == 0 || len(weights) != len(nodes) {
		panic(badLength)
	}
	p := Probe{Index: index, BetaLast: betaLast, Exhausted: betaLast == 0}
	p.Alpha, p.Beta = jacobi(nodes, weights)
	p.ends()
	p.Nodes, p.Weights = nodes, weights
	return p
}

// jacobi returns the tridiagonal matrix whose quadrature is given: Rutishauser, Kahan, Pal and Walker's method (Gragg
// and Harwood 1984), which adds one node after another.
func jacobi(nodes, weights []float64) (alpha, beta []float64) {
	m := len(nodes)
	a, _, exp := scaled(nodes, nil)
	b := make([]float64, m) // b[0] is the mass, b[i] = β_i²
	b[0] = weights[0]
	for n := 1; n < m; n++ {
		x, pi := a[n], weights[n]
		gamma, sigma, t := 1.0, 0.0, 0.0
		for k := 0; k <= n; k++ {
			rho := b[k] + pi
			next, before := gamma*rho, sigma
			if rho <= 0 {
				gamma, sigma = 1, 0
			} else {
				gamma, sigma = b[k]/rho, pi/rho
			}
			u := sigma*(a[k]-x) - gamma*t
			a[k] -= u - t
			t = u
			if sigma <= 0 {
				pi = before * b[k]
			} else {
				pi = t * t / sigma
			}
			b[k] = next
		}
	}
	beta = make([]float64, m-1)
	for i := range beta {
		beta[i] = math.Ldexp(math.Sqrt(max(0, b[i+1])), exp)
	}
	for i := range a {
		a[i] = math.Ldexp(a[i], exp)
	}
	return a, beta
}
