package density

import "math"

// Blocks are the parts of a mean Hessian over a sample of data, H = Σ_b G_b, as the quadratic forms with some vectors show them. Examples
// must have come into blocks by chance.
type Blocks struct {
	Share []float64   // of each block in the mean; they sum to 1
	Known [][]float64 // uᵀ G_b u: for each block, of eigenvectors u of H
	Rest  [][]float64 // vᵀ G_b v: for each block, of unit vectors v, uniform on the sphere of the complement of all u
	Order int         // n, of H
}

// deviations are what parts q_b of a sum are away from their shares of it, d_b = q_b − s_b Σ q.
func (b *Blocks) deviations(part func(block int) float64) []float64 {
	d, sum := make([]float64, len(b.Share)), 0.0
	for i := range d {
		d[i] = part(i)
		sum += d[i]
	}
	for i := range d {
		d[i] -= b.Share[i] * sum
	}
	return d
}

// scale makes Σ d_b² the variance of the sum: with equal shares B/(B − 1), and generally 1/(1 − Σ s_b²), since the variance of a block of so many
// examples is proportional to their number. NaN for a single block.
func (b *Blocks) scale() float64 {
	squares := 0.0
	for _, s := range b.Share {
		squares += s * s
	}
	if len(b.Share) < 2 {
		return math.NaN()
	}
	return 1 / (1 - squares)
}

// Eigenvalue is the standard error by the data of the eigenvalue of the i-th vector u: to first order another sample's
// is uᵀ H u with its H, a mean over examples, so that the blocks, B of them, show it as sd_b/√B of their own means.
func (b *Blocks) Eigenvalue(i int) float64 {
	sum := 0.0
	for _, d := range b.deviations(func(block int) float64 { return b.Known[block][i] }) {
		sum += d * d
	}
	return math.Sqrt(b.scale() * sum)
}

// Trace is the standard error by the data of tr H, apart from what the vectors v make of it. With r vectors u, each v gives
//
//	t_b(v) = Σ uᵀ G_b u + (n − r) vᵀ G_b v,
//
// of mean tr G_b over v. Squares of deviations of their mean over v would hold the scatter of the vectors too; the mean of the products of those of
// two different ones holds none. Chance can make that negative: then the error is 0. NaN with fewer than two vectors.
func (b *Blocks) Trace() float64 {
	known := func(block int) float64 {
		sum := 0.0
		for _, q := range b.Known[block] {
			sum += q
		}
		return sum
	}
	r := 0
	if len(b.Known) > 0 {
		r = len(b.Known[0])
	}
	if r == b.Order { // nothing is left for any v
		sum := 0.0
		for _, d := range b.deviations(known) {
			sum += d * d
		}
		return math.Sqrt(b.scale() * sum)
	}
	k := len(b.Rest[0])
	sums, squares := make([]float64, len(b.Share)), make([]float64, len(b.Share)) // over the vectors
	for p := range k {
		for i, d := range b.deviations(func(block int) float64 { return known(block) + float64(b.Order-r)*b.Rest[block][p] }) {
			sums[i] += d
			squares[i] += d * d
		}
	}
	variance := 0.0
	for i, s := range sums {
		variance += (s*s - squares[i]) / float64(k*(k-1))
	}
	return math.Sqrt(max(0, b.scale()*variance))
}
