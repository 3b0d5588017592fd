package lanczos

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/lapack"
	"gonum.org/v1/gonum/lapack/gonum"
	"gonum.org/v1/gonum/mathext"
)

const (
	// convergedGap is the residual, relative to the distance to the next node, at which a node counts as an
	// eigenvalue. Relative to the gap and not to ‖H‖: a bulk much narrower than ‖H‖ would pass
	// the other test unresolved.
	convergedGap = 1e-4

	// ignoredWeight times 1/n is the weight below which a node is no part of the probe but a copy that rounding
	// started after an invariant subspace was found.
	ignoredWeight = 1e-8

	// joinedGap times ‖H‖ is the distance below which two nodes of a probe are one.
	joinedGap = 100 * epsilon

	// rankCut times the number of vectors is the eigenvalue of their Gram matrix below which a direction is
	// the vectors' error: angle² ≤ 1e-8, where true directions have order 1.
	rankCut = 1e-3

	// tooHeavy is the chance below which the weight of a cluster is not that of as many eigenvalues as it has
	// dimensions.
	tooHeavy = 1e-6

	// joinedNoise times the error of the products as the run shows it is how far from one another probes may see one
	// eigenvalue, beyond their residuals. That is well below the distances that candidates keep in a probe.
	joinedNoise = 4

	// blurred is the residual, relative to the distance to the next node, from which a node is no single
	// eigenvector any more.
	blurred = 0.1
)

// Eigenvalue is one eigenvalue on which the probes agree.
type Eigenvalue struct {
	Value  float64
	Bound  float64 // an eigenvalue lies within Bound of Value
	Probes int     // the number of probes that it converged in
	Simple bool    // no other stands beside it that they cannot tell from it
}

// Measure is a discrete measure: the part of a quadrature that is left when eigenvalues are taken out.
type Measure struct {
	Nodes, Weights []float64
}

// Eigenvalues are what probes of one operator agree on, and what they say of its size.
type Eigenvalues struct {
	Order    int     // n, of the operator
	Norm     float64 // ‖H‖, the largest |node| over all probes
	Largest  float64 // the largest and the smallest node over all probes
	Smallest float64
	Rounding float64 // the error of a product: no residual is taken below it

	List       []Eigenvalue // descending; one of multiplicity d stands there d times
	Unresolved int          // clusters of converged nodes that were left alone
	Assumed    bool         // nothing contradicts that each has multiplicity 1: one probe, or no Overlaps
}

// pair is a node of a probe, or several that are one.
type pair struct {
	value, residual, weight float64
	gap                     float64   // to the nearest other pair of its probe
	vector                  []float64 // of the Ritz vector, in the basis; its part along the start is positive
}

// candidate is a pair that has converged.
type candidate struct {
	pair
	probe int
}

// bound is how far an eigenvalue can be.
func (p *pair) bound() float64 { return min(p.residual, p.residual*(p.residual/p.gap)) }

// Agree finds the eigenvalues of an operator of order n that probes of one run have converged to and agree on.
//
// Within a probe: nodes closer than 100·2⁻⁵²·‖H‖ are one, of their joint weight, at the heaviest of them, with
// the Ritz vector along the probe's own direction, of residual |β_m Σ S_1i S_mi| / √Σ S_1i². What then
// weighs less than 1e-8/n is ignored. A node is a candidate when its residual is at most 1e-4 of the distance
// to the next one. No residual is taken below productError·‖H‖.
//
// Across probes: candidates within the sum of their residuals and four times the error of a product are a cluster. A
// Krylov space meets an eigenspace in
// one direction, that of its start v, so the Ritz vectors x of a cluster have
//
//	x_pᵀ x_q = v_pᵀ x_q / √w_p,   w_p = (v_pᵀ x_p)²,
//
// which Probe.Overlaps gives without any basis. With d the rank of their Gram matrix G:
//
//   - d below the number of candidates: no probe saw a direction of its own, and there are d eigenvalues, those of
//     H in the span of the vectors (Rayleigh-Ritz with Xᵀ H X = G∘(θ_p + θ_q)/2, no product). Their Bound is the
//     largest min(e, e²/gap) of the candidates plus the error of a product: the largest Probe.Asymmetry, at least
//     productError·‖H‖, and the largest Probe.ProductError;
//   - d equal to it: an eigenvalue of multiplicity d or more, or a cluster that is not resolved. It is left alone;
//   - n times the mean weight above the 1 − 1e-6 quantile of χ² over its d·count degrees of freedom: left alone.
//
// One probe cannot be contradicted, and neither can probes without Overlaps: then d is taken to be 1, and Assumed
// is set.
func Agree(probes []Probe, n int, productError float64) Eigenvalues {
	e := Eigenvalues{Order: n, Largest: math.Inf(-1), Smallest: math.Inf(1)}
	pooled, noise, apart := true, 0.0, 0.0
	for i := range probes {
		p := &probes[i]
		for _, x := range p.Nodes {
			e.Norm = max(e.Norm, math.Abs(x))
			e.Largest = max(e.Largest, x)
			e.Smallest = min(e.Smallest, x)
		}
		pooled = pooled && len(p.Overlaps) == len(probes)
		noise, apart = max(noise, p.Asymmetry), max(apart, p.ProductError)
	}
	e.Rounding = productError * e.Norm
	noise = max(noise, e.Rounding)
	var candidates []candidate
	for i := range probes {
		for _, p := range probes[i].pairs(n, e.Norm, e.Rounding) {
			if p.residual <= convergedGap*p.gap {
				candidates = append(candidates, candidate{p, i})
			}
		}
	}

	// |a − b| ≤ e_a + e_b is an overlap of intervals: clusters are the connected unions of them.
	reachOf := func(p candidate) float64 { return p.residual + joinedNoise/2*noise }
	slices.SortStableFunc(candidates, func(a, b candidate) int {
		return cmp.Compare(a.value-reachOf(a), b.value-reachOf(b))
	})
	var clusters [][]candidate
	for i := 0; i < len(candidates); {
		reach, j := candidates[i].value+reachOf(candidates[i]), i+1
		for ; j < len(candidates) && candidates[j].value-reachOf(candidates[j]) <= reach; j++ {
			reach = max(reach, candidates[j].value+reachOf(candidates[j]))
		}
		c := candidates[i:j:j]
		slices.SortFunc(c, func(a, b candidate) int { return a.probe - b.probe })
		clusters = append(clusters, c)
		i = j
	}
	e.Assumed = len(probes) == 1 || !pooled
	taken := make([][]float64, len(clusters))
	count := 0
	for i, c := range clusters {
		taken[i] = agreed(probes, c, n, e.Assumed)
		count += len(taken[i])
	}
	// What is left must hold what is left of every probe: where it cannot, the heaviest cluster is a multiple eigenvalue.
	for count > n || count < n && exhaustive(probes, clusters, taken, n, e.Norm, e.Rounding) {
		worst := -1
		for i, c := range clusters {
			if len(taken[i]) > 0 && (worst < 0 || meanWeight(c) > meanWeight(clusters[worst])) {
				worst = i
			}
		}
		count -= len(taken[worst])
		taken[worst] = nil
	}
	for i, c := range clusters {
		if len(taken[i]) == 0 {
			e.Unresolved++
			continue
		}
		bound := 0.0
		for _, p := range c {
			bound = max(bound, p.bound())
		}
		for _, x := range taken[i] {
			e.List = append(e.List, Eigenvalue{Value: x, Bound: bound + noise + apart, Probes: len(c), Simple: len(taken[i]) == 1})
		}
	}
	slices.SortFunc(e.List, func(a, b Eigenvalue) int { return cmp.Compare(b.Value, a.Value) })
	e.Assumed = e.Assumed && len(e.List) > 0
	return e
}

func meanWeight(c []candidate) float64 {
	sum := 0.0
	for _, p := range c {
		sum += p.weight
	}
	return sum / float64(len(c))
}

// agreed returns the eigenvalues of a cluster, none when it is to be left alone.
func agreed(probes []Probe, c []candidate, n int, assumed bool) []float64 {
	for i := 1; i < len(c); i++ {
		if c[i].probe == c[i-1].probe {
			return nil
		}
	}
	values := []float64{0}
	if assumed {
		best := slices.MinFunc(c, func(a, b candidate) int { return cmp.Compare(a.residual, b.residual) })
		values[0] = best.value
	} else {
		values = rayleighRitz(gram(probes, c), c)
		if len(values) == len(c) {
			return nil
		}
	}
	freedom := float64(len(values) * len(c))
	if mathext.GammaIncRegComp(freedom/2, meanWeight(c)*float64(n)*float64(len(c))/2) < tooHeavy {
		return nil
	}
	return values
}

// gram returns the Gram matrix of a cluster's Ritz vectors, row by row. Each product is known twice, from the starts of
// both probes, and the two are weighted by how well the start sees the eigenspace.
func gram(probes []Probe, c []candidate) []float64 {
	k := len(c)
	seen := func(v, x candidate) float64 {
		return dot(probes[x.probe].Overlaps[v.probe], x.vector) * math.Sqrt(v.weight)
	}
	g := make([]float64, k*k)
	for i := range c {
		g[i*k+i] = 1
		for j := range i {
			g[i*k+j] = (seen(c[i], c[j]) + seen(c[j], c[i])) / (c[i].weight + c[j].weight)
			g[j*k+i] = g[i*k+j]
		}
	}
	return g
}

// rayleighRitz returns the eigenvalues of H in the span of a cluster's vectors with Gram matrix g, which it overwrites.
func rayleighRitz(g []float64, c []candidate) []float64 {
	k := len(c)
	h := make([]float64, k*k)
	for i := range c {
		for j := range c {
			h[i*k+j] = g[i*k+j] * ((c[i].value-c[0].value)/2 + (c[j].value-c[0].value)/2) // less c[0].value, for the digits
		}
	}
	f := eigen(g, k) // now column l of g is its vector l
	var y [][]float64
	for l, x := range f {
		if x > rankCut*float64(k) {
			column := make([]float64, k)
			for i := range column {
				column[i] = g[i*k+l] / math.Sqrt(x)
			}
			y = append(y, column)
		}
	}
	d := len(y)
	b := make([]float64, d*d)
	for i := range y {
		hy := make([]float64, k)
		for l := range hy {
			hy[l] = dot(h[l*k:(l+1)*k], y[i])
		}
		for j := range y {
			b[i*d+j] = dot(hy, y[j])
		}
	}
	values := eigen(b, d)
	for i := range values {
		values[i] += c[0].value
	}
	return values
}

// eigen overwrites a symmetric matrix of order k with its eigenvectors, in columns, and returns the eigenvalues, ascending.
func eigen(a []float64, k int) []float64 {
	w := make([]float64, k)
	work := make([]float64, 1)
	gonum.Implementation{}.Dsyev(lapack.EVCompute, 'U', k, a, k, w, work, -1)
	work = make([]float64, int(work[0]))
	if !(gonum.Implementation{}.Dsyev(lapack.EVCompute, 'U', k, a, k, w, work, len(work))) {
		return nil // no rank: the cluster counts as not resolved
	}
	return w
}

// exhaustive says that taking eigenvalues out leaves nothing of some probe.
func exhaustive(probes []Probe, clusters [][]candidate, taken [][]float64, n int, norm, floor float64) bool {
	gone := make([]int, len(probes))
	for i, c := range clusters {
		for _, p := range c {
			if len(taken[i]) > 0 {
				gone[p.probe]++
			}
		}
	}
	for i := range probes {
		if gone[i] > 0 && gone[i] == len(probes[i].pairs(n, norm, floor)) {
			return true
		}
	}
	return false
}

// Rest returns what is left of the quadratures of probes when the eigenvalues of e are taken out: nodes ascending,
// weights that sum to 1, empty where nothing is left. The start of a probe without its part along some eigenvectors
// is uniform on the sphere of their complement, so each is the quadrature of a probe there.
//
// Of each probe an eigenvalue takes the nearest pair (see Agree), when it lies within the pair's residual and the rounding of nodes: the
// whole of it, or 1/n of its weight when its residual is above a tenth of the distance to the next pair, so
// that it is no single eigenvector.
func (e *Eigenvalues) Rest(probes []Probe) []Measure {
	rest := make([]Measure, len(probes))
	for i := range probes {
		pairs := probes[i].pairs(e.Order, e.Norm, e.Rounding)
		struck := make([]bool, len(pairs))
		for _, x := range e.List {
			best := -1
			for l := range pairs {
				if best < 0 || math.Abs(pairs[l].value-x.Value) < math.Abs(pairs[best].value-x.Value) {
					best = l
				}
			}
			if best < 0 {
				break
			}
			switch p := &pairs[best]; {
			case !e.near(p, x):
			case p.residual > blurred*p.gap:
				p.weight = max(0, p.weight-1/float64(e.Order))
			default:
				struck[best] = true
			}
		}
		sum := 0.0
		for l, p := range pairs {
			if !struck[l] && p.weight > 0 {
				rest[i].Nodes = append(rest[i].Nodes, p.value)
				rest[i].Weights = append(rest[i].Weights, p.weight)
				sum += p.weight
			}
		}
		for l := range rest[i].Weights {
			rest[i].Weights[l] /= sum
		}
	}
	return rest
}

// near says that a pair can be the eigenvalue v: nodes have a rounding of their own beside their residuals.
func (e *Eigenvalues) near(p *pair, v Eigenvalue) bool {
	return math.Abs(p.value-v.Value) <= p.residual+v.Bound+joinedNoise*e.Rounding
}

// Settled says that more steps will not make more of the largest (or smallest) eigenvalues known: in every probe the
// outermost pair that none of them has taken has converged as far as the products are good, or there is none. Such an
// eigenvalue repeats, or has neighbours that cannot be told from it.
func (e *Eigenvalues) Settled(probes []Probe) (top, bottom bool) {
	top, bottom = true, true
	for i := range probes {
		pairs := probes[i].pairs(e.Order, e.Norm, e.Rounding)
		left := slices.DeleteFunc(pairs, func(p pair) bool {
			return slices.ContainsFunc(e.List, func(v Eigenvalue) bool { return e.near(&p, v) })
		})
		if len(left) > 0 {
			top = top && left[len(left)-1].residual <= e.Rounding
			bottom = bottom && left[0].residual <= e.Rounding
		}
	}
	return top, bottom
}

// pairs joins and ignores nodes; floor is the least residual.
func (p *Probe) pairs(n int, norm, floor float64) []pair {
	var out []pair
	m := len(p.Nodes)
	for i := 0; i < m; {
		j := i + 1
		for j < m && p.Nodes[j]-p.Nodes[j-1] <= joinedGap*norm {
			j++
		}
		best, weight := i, 0.0
		for l := i; l < j; l++ {
			weight += p.Weights[l]
			if p.Weights[l] > p.Weights[best] {
				best = l
			}
		}
		if weight*float64(n) >= ignoredWeight {
			out = append(out, pair{value: p.Nodes[best], residual: max(p.joint(i, j, weight), floor), weight: weight, vector: p.along(i, j, weight)})
		}
		i = j
	}
	for i := range out {
		out[i].gap = math.Inf(1)
		if i > 0 {
			out[i].gap = out[i].value - out[i-1].value
		}
		if i+1 < len(out) {
			out[i].gap = min(out[i].gap, out[i+1].value-out[i].value)
		}
	}
	return out
}

// joint returns the residual of the nodes i, …, j−1 along the probe's own direction.
func (p *Probe) joint(i, j int, weight float64) float64 {
	switch {
	case j == i+1:
		return p.Residuals[i]
	case p.last == nil: // a probe put together by hand: the triangle inequality
		sum := 0.0
		for l := i; l < j; l++ {
			sum += math.Sqrt(p.Weights[l]/weight) * p.Residuals[l]
		}
		return sum
	}
	return math.Abs(p.BetaLast*dot(p.first[i:j], p.last[i:j])) / math.Sqrt(weight)
}

// along returns Σ S_1l S_l / √weight over the nodes l = i, …, j−1: the Ritz vector along the probe's own direction, in its
// basis; nil where S is not known.
func (p *Probe) along(i, j int, weight float64) []float64 {
	if p.s == nil {
		return nil
	}
	m := len(p.Nodes)
	c := make([]float64, m)
	for r := range c {
		c[r] = dot(p.s[r*m+i:r*m+j], p.first[i:j]) / math.Sqrt(weight)
	}
	return c
}
