package lanczos

import (
	"cmp"
	"math"
	"slices"
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
)

// Eigenvalue is one eigenvalue on which the converged nodes of the probes agree.
type Eigenvalue struct {
	Value    float64
	Residual float64 // an eigenvalue lies within Residual of Value
	Weight   float64 // the mass of its nodes in the mean of the probes; its expectation is multiplicity/n
	Probes   int     // the number of probes that it converged in
}

// Measure is a discrete measure: the part of a quadrature that is left when eigenvalues are taken out.
type Measure struct {
	Nodes, Weights []float64
}

// Decomposition splits the quadratures of probes into converged eigenvalues and the rest.
type Decomposition struct {
	Norm         float64 // ‖H‖, the largest |node| over all probes
	ProductError float64 // relative to Norm, as given
	Largest      float64 // the largest and the smallest node over all probes
	Smallest     float64

	Eigenvalues []Eigenvalue // descending
	Rest        []Measure    // per probe: nodes ascending
}

// pair is a node of a probe, or several that are one.
type pair struct {
	value, residual, weight float64
	converged               bool
}

// Eigenvalues returns the converged eigenvalues of Decompose.
func Eigenvalues(probes []Probe, n int, productError float64) []Eigenvalue {
	return Decompose(probes, n, productError).Eigenvalues
}

// Decompose finds the eigenvalues that probes of an operator of order n have converged to.
//
// Within a probe: nodes closer than 100·2⁻⁵²·‖H‖ are one, of their joint weight, at the heaviest of them, with
// the residual of the Ritz vector along the probe's own direction, |β_m Σ S_1i S_mi| / √Σ S_1i². What then
// weighs less than 1e-8/n is ignored. A node has converged when its residual is at most 1e-4 of the distance
// to the next one. No residual is taken below productError·‖H‖.
//
// Across probes: values within the sum of their residuals are one eigenvalue, with the value and the residual
// of the node of smallest residual (of the first probe among equals). Its weight is the mean over all probes
// of the weight of its nodes, a probe in which it has not converged counting 0, so that the weights of the
// eigenvalues and of what has not converged add up to one.
//
// The rest of a probe is what is neither ignored nor an eigenvalue. A node that has not converged itself is
// struck from the rest too when it is its probe's nearest to an eigenvalue of other probes and within the
// residuals of it.
func Decompose(probes []Probe, n int, productError float64) Decomposition {
	d := Decomposition{ProductError: productError, Largest: math.Inf(-1), Smallest: math.Inf(1)}
	for _, p := range probes {
		for _, x := range p.Nodes {
			d.Norm = max(d.Norm, math.Abs(x))
			d.Largest = max(d.Largest, x)
			d.Smallest = min(d.Smallest, x)
		}
	}
	type candidate struct {
		pair
		probe int
	}
	var candidates []candidate
	all := make([][]pair, len(probes))
	for i := range probes {
		all[i] = probes[i].pairs(n, d.Norm, productError*d.Norm)
		for _, p := range all[i] {
			if p.converged {
				candidates = append(candidates, candidate{p, i})
			}
		}
	}

	// |a − b| ≤ e_a + e_b is an overlap of intervals: rows are the connected unions of them.
	slices.SortStableFunc(candidates, func(a, b candidate) int {
		return cmp.Compare(a.value-a.residual, b.value-b.residual)
	})
	for i := 0; i < len(candidates); {
		row := Eigenvalue{Residual: math.Inf(1)}
		reach, owner, seen := math.Inf(-1), 0, map[int]bool{}
		j := i
		for ; j < len(candidates) && (j == i || candidates[j].value-candidates[j].residual <= reach); j++ {
			c := candidates[j]
			reach = max(reach, c.value+c.residual)
			if c.residual < row.Residual || c.residual == row.Residual && c.probe < owner {
				row.Value, row.Residual, owner = c.value, c.residual, c.probe
			}
			row.Weight += c.weight
			seen[c.probe] = true
		}
		row.Weight /= float64(len(probes))
		row.Probes = len(seen)
		d.Eigenvalues = append(d.Eigenvalues, row)
		i = j
	}
	slices.SortFunc(d.Eigenvalues, func(a, b Eigenvalue) int { return cmp.Compare(b.Value, a.Value) })

	d.Rest = make([]Measure, len(probes))
	for i, pairs := range all {
		for _, e := range d.Eigenvalues {
			if e.Probes < len(probes) {
				strike(pairs, e)
			}
		}
		for _, p := range pairs {
			if !p.converged {
				d.Rest[i].Nodes = append(d.Rest[i].Nodes, p.value)
				d.Rest[i].Weights = append(d.Rest[i].Weights, p.weight)
			}
		}
	}
	return d
}

// strike marks the pair nearest to e, when e lies within the residuals of it.
func strike(pairs []pair, e Eigenvalue) {
	best := -1
	for i, p := range pairs {
		if best < 0 || math.Abs(p.value-e.Value) < math.Abs(pairs[best].value-e.Value) {
			best = i
		}
	}
	if best >= 0 && math.Abs(pairs[best].value-e.Value) <= pairs[best].residual+e.Residual {
		pairs[best].converged = true
	}
}

// pairs joins and ignores nodes and says which have converged; floor is the least residual.
func (p *Probe) pairs(n int, norm, floor float64) []pair {
	var out []pair
	for i := 0; i < len(p.Nodes); {
		j := i + 1
		for j < len(p.Nodes) && p.Nodes[j]-p.Nodes[j-1] <= joinedGap*norm {
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
			residual := p.Residuals[best]
			if j > i+1 {
				residual = p.joint(i, j, weight)
			}
			out = append(out, pair{value: p.Nodes[best], residual: max(residual, floor), weight: weight})
		}
		i = j
	}
	for i := range out {
		gap := math.Inf(1)
		if i > 0 {
			gap = out[i].value - out[i-1].value
		}
		if i+1 < len(out) {
			gap = min(gap, out[i+1].value-out[i].value)
		}
		out[i].converged = out[i].residual <= convergedGap*gap
	}
	return out
}

// joint returns the residual of the nodes i, …, j−1 along the probe's own direction.
func (p *Probe) joint(i, j int, weight float64) float64 {
	sum := 0.0
	if p.last == nil { // a probe put together by hand: the triangle inequality
		for l := i; l < j; l++ {
			sum += math.Sqrt(p.Weights[l]/weight) * p.Residuals[l]
		}
		return sum
	}
	for l := i; l < j; l++ {
		sum += p.first[l] * p.last[l]
	}
	return math.Abs(p.BetaLast*sum) / math.Sqrt(weight)
}
