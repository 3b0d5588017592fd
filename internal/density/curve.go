package density

import (
	"fmt"
	"math"
)

const (
	// reach is how far, in σ, the grid goes beyond a node: the kernel is there at 1e-14 of its height.
	reach = 8

	// underflow is the distance, in σ, at which exp(−z²/2) is 0.
	underflow = 39

	// defaultStep and widestStep are the grid's steps in σ: a peak drawn with straight lines loses at most 0.8 %
	// of its height at σ/4 and 3.1 % at σ/2, and the trapezoid rule is exact to rounding at both.
	defaultStep = 0.25
	widestStep  = 0.5

	// maxPoints bounds the memory of a curve.
	maxPoints = 1 << 22

	// The paper's code: https://github.com/google/spectral-density, jax/density.py.
	paperMargin = 1e-2
	paperSigma2 = 1e-5
	paperPoints = 10_000
)

// Curve is a density on a grid: mass per unit of λ. Between its points it is a straight line.
type Curve struct {
	Sigma2        float64
	Grid, Density []float64
	Lower, Upper  []float64 // of a band around Density, or nil

	// Distribution is the smoothed distribution function, the mass below each point, with its band; nil of a curve that has
	// no estimate.
	Distribution, DistributionLower, DistributionUpper []float64
}

// stretch is a part of the axis that a grid covers evenly; between stretches there is nothing to see.
type stretch struct{ lo, hi float64 }

// stretches returns the union of [x − 8σ, x + 8σ] over the nodes.
func stretches(nodes []float64, sigma float64) []stretch {
	var s []stretch
	for _, x := range nodes {
		lo, hi := x-reach*sigma, x+reach*sigma
		if l := len(s) - 1; l >= 0 && lo <= s[l].hi {
			s[l].hi = max(s[l].hi, hi)
		} else {
			s = append(s, stretch{lo, hi})
		}
	}
	return s
}

// cells is the number of cells of width at most h.
func (s stretch) cells(h float64) float64 { return math.Ceil((s.hi - s.lo) / h * (1 - 1e-12)) }

func count(s []stretch, h float64) float64 {
	n := 0.0
	for _, t := range s {
		n += t.cells(h) + 1
	}
	return n
}

// Smooth returns the density of m under a Gaussian kernel of variance sigma2,
//
//	φ(t) = Σ w_i exp(−(t − x_i)²/(2σ²)) / √(2πσ²).
//
// The grid covers 8σ around every node in even steps of at most σ/4 and leaves the voids between them empty
// (the density there is below 1e-14 of the peaks beside it), so that nothing is cut and the trapezoid rule
// integrates the curve to 1. points, when positive, asks for another number of points: at least so many are
// used if that is finer, and steps of σ/2, and never wider ones, if it is coarser. Nothing is added to the
// density and it is not renormalised.
//
// It fails with ErrTooFine when σ is below the spacing of float64 numbers at the nodes, or the grid above 2²² points.
func Smooth(m Measure, sigma2 float64, points int) (Curve, error) {
	grid, err := gridOf(m, sigma2, points)
	if err != nil {
		return Curve{}, err
	}
	y, _ := evaluate(m, math.Sqrt(sigma2), grid)
	return Curve{Sigma2: sigma2, Grid: grid, Density: y}, nil
}

// On returns the density of a measure under a Gaussian kernel of variance sigma2 at ascending points.
func On(m Measure, sigma2 float64, grid []float64) []float64 {
	y, _ := evaluate(m, math.Sqrt(sigma2), grid)
	return y
}

// gridOf returns the grid of Smooth.
func gridOf(m Measure, sigma2 float64, points int) ([]float64, error) {
	if !(sigma2 > 0) || math.IsInf(sigma2, 0) {
		panic(badSigma2)
	}
	if len(m.Nodes) == 0 {
		panic(empty)
	}
	sigma := math.Sqrt(sigma2)
	size := max(math.Abs(m.Min()), math.Abs(m.Max()))
	s := stretches(m.Nodes, sigma)
	h := defaultStep * sigma
	if points > 0 {
		total := 0.0
		for _, t := range s {
			total += t.hi - t.lo
		}
		// With whole cells, total/(points − stretches) gives at least as many points as asked for.
		h = widestStep * sigma
		if free := float64(points - len(s)); free > 0 {
			h = min(h, total/free)
		}
	}
	if !(h > 0x1p-50*size) || count(s, widestStep*sigma) > maxPoints {
		return nil, fmt.Errorf("%w: sigma2 = %g, that is σ = %g, on nodes up to %g", ErrTooFine, sigma2, sigma, size)
	}
	if points > maxPoints || count(s, h) > maxPoints {
		return nil, fmt.Errorf("%w: a grid of more than %d points", ErrTooFine, maxPoints)
	}
	var grid []float64
	for _, t := range s {
		n := int(t.cells(h))
		step := (t.hi - t.lo) / float64(n)
		for i := range n {
			grid = append(grid, t.lo+float64(i)*step)
		}
		grid = append(grid, t.hi)
	}
	return grid, nil
}

// FewestPoints returns the number of points of the coarsest grid that Smooth makes, steps of σ/2: below that a
// request cannot be met.
func FewestPoints(m Measure, sigma2 float64) int {
	sigma := math.Sqrt(sigma2)
	return int(min(count(stretches(m.Nodes, sigma), widestStep*sigma), math.MaxInt32))
}

// evaluate returns Σ w_i g(t − x_i) and Σ w_i g(t − x_i)² at ascending points t.
func evaluate(m Measure, sigma float64, grid []float64) (density, squares []float64) {
	density, squares = make([]float64, len(grid)), make([]float64, len(grid))
	lo, hi := 0, 0
	height := 1 / (math.Sqrt(2*math.Pi) * sigma)
	for i, t := range grid {
		for lo < len(m.Nodes) && m.Nodes[lo] < t-underflow*sigma {
			lo++
		}
		for hi < len(m.Nodes) && m.Nodes[hi] <= t+underflow*sigma {
			hi++
		}
		sum, sum2 := 0.0, 0.0
		for j := lo; j < hi; j++ {
			z := (t - m.Nodes[j]) / sigma
			y := math.Exp(-0.5 * z * z)
			sum += m.Weights[j] * y
			sum2 += m.Weights[j] * y * y
		}
		density[i], squares[i] = sum*height, sum2*height*height
	}
	return density, squares
}

// cumulate returns Σ w_i Φ((t − x_i)/σ) and Σ w_i Φ((t − x_i)/σ)² at ascending points t, Φ being the normal distribution
// function.
func cumulate(m Measure, sigma float64, grid []float64) (mass, squares []float64) {
	mass, squares = make([]float64, len(grid)), make([]float64, len(grid))
	lo, hi, below := 0, 0, 0.0
	for i, t := range grid {
		for ; lo < len(m.Nodes) && m.Nodes[lo] < t-reach*sigma; lo++ {
			below += m.Weights[lo]
		}
		for hi < len(m.Nodes) && m.Nodes[hi] <= t+reach*sigma {
			hi++
		}
		mass[i], squares[i] = below, below
		for j := lo; j < hi; j++ {
			y := 0.5 * math.Erfc((m.Nodes[j]-t)/(sigma*math.Sqrt2))
			mass[i] += m.Weights[j] * y
			squares[i] += m.Weights[j] * y * y
		}
	}
	return mass, squares
}

// At returns the density of m under a kernel of variance sigma2 at t.
func (m Measure) At(t, sigma2 float64) float64 {
	y, _ := evaluate(m, math.Sqrt(sigma2), []float64{t})
	return y[0]
}

// Integral returns ∫ c by the trapezoid rule.
func (c Curve) Integral() float64 {
	sum := 0.0
	for i := 1; i < len(c.Grid); i++ {
		sum += (c.Grid[i] - c.Grid[i-1]) * (c.Density[i] + c.Density[i-1]) / 2
	}
	return sum
}

// Ghorbani returns the density as the code of Ghorbani, Krishnan and Xiao (2019) draws it, for comparison with
// pictures made by it. For the quadratures of the probes:
//
//	a = mean over probes of the smallest node − 0.01,  b = mean over probes of the largest + 0.01,
//	σ² = 1e-5 · max(1, b − a),
//	10,000 even points from a to b, the mean over probes of Σ w_i g(t − x_i; σ²), divided by (sum of it) · spacing.
//
// That is not scale free, may cut the outermost peaks, may be coarser than the kernel and hides both by
// renormalising; nothing of it is mended here. sigma2 > 0 replaces the variance, points > 0 the number of
// points (at least 2).
func Ghorbani(probes []Measure, sigma2 float64, points int) Curve {
	if len(probes) == 0 {
		panic(empty)
	}
	var a, b float64
	for _, p := range probes {
		a += p.Min() / float64(len(probes))
		b += p.Max() / float64(len(probes))
	}
	a, b = a-paperMargin, b+paperMargin
	if !(sigma2 > 0) {
		sigma2 = paperSigma2 * max(1, b-a)
	}
	if points <= 0 {
		points = paperPoints
	}
	points = max(points, 2)
	c := Curve{Sigma2: sigma2, Grid: make([]float64, points)}
	step := (b - a) / float64(points-1)
	for i := range c.Grid {
		c.Grid[i] = a + float64(i)*step
	}
	c.Grid[points-1] = b
	c.Density, _ = evaluate(Pool(probes...), math.Sqrt(sigma2), c.Grid)
	sum := 0.0
	for _, y := range c.Density {
		sum += y
	}
	if norm := sum * (c.Grid[1] - c.Grid[0]); norm > 0 {
		for i := range c.Density {
			c.Density[i] /= norm
		}
	}
	return c
}

// L1 returns ∫ |φ_a − φ_b| of two measures smoothed by one kernel of variance sigma2: 0 when they agree, 2
// when they are apart. It fails as Smooth does.
func L1(a, b Measure, sigma2 float64) (float64, error) {
	c, err := Smooth(Pool(a, b), sigma2, 0)
	if err != nil {
		return 0, err
	}
	// Half the step again: the integrand has kinks where the curves cross.
	fine := make([]float64, 0, 2*len(c.Grid))
	for i, t := range c.Grid {
		if i > 0 {
			fine = append(fine, (c.Grid[i-1]+t)/2)
		}
		fine = append(fine, t)
	}
	sigma := math.Sqrt(sigma2)
	fa, _ := evaluate(a, sigma, fine)
	fb, _ := evaluate(b, sigma, fine)
	sum := 0.0
	for i := 1; i < len(fine); i++ {
		if fine[i]-fine[i-1] <= defaultStep*sigma {
			sum += (fine[i] - fine[i-1]) * (math.Abs(fa[i]-fb[i]) + math.Abs(fa[i-1]-fb[i-1])) / 2
		}
	}
	return sum, nil
}

// massAround returns the mass of m within 2σ of the highest point of c, and where that is.
func massAround(m Measure, c Curve) (mass, at float64) {
	best := 0
	for i, y := range c.Density {
		if y > c.Density[best] {
			best = i
		}
	}
	at = c.Grid[best]
	sigma := math.Sqrt(c.Sigma2)
	return m.Mass(at-2*sigma, at+2*sigma), at
}
