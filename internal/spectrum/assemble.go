package spectrum

import (
	"context"
	"fmt"
	"math"
	"slices"

	"hessdens/internal/density"
	"hessdens/internal/lanczos"
)

// Smoothing is the rule for width and grid of the density.
type Smoothing string

// The rules: the default, which follows the spectrum's scale, and the one of the paper's code.
const (
	Scale    Smoothing = "scale"
	Ghorbani Smoothing = "ghorbani"
)

// Settings is what a result depends on besides the quadratures.
type Settings struct {
	Steps     int    // of the probes, as asked for
	Seed      uint64 // of the probes
	Precision string // of the products: Float32 or Float64
	Basis     string // as Lanczos keeps it: Float32 or Float64

	Smoothing Smoothing // Scale when empty
	Sigma2    float64   // variance of the kernel; 0: chosen by the rule
	Points    int       // of the grid; 0: chosen by the rule

	Threads int // for FromExact's own quadrature
}

// ProductError returns the error of a product in a precision, relative to ‖H‖: what a residual of an exact spectrum is never taken below.
func ProductError(precision string) float64 {
	if precision == Float32 {
		return lanczos.ProductError32
	}
	return lanczos.ProductError64
}

// Storage returns the storage that is meant by Float32 or Float64.
func Storage(basis string) lanczos.Storage {
	if basis == Float32 {
		return lanczos.Single
	}
	return lanczos.Double
}

// FromProbes puts a result together from the probes of an operator of order n: Schema, Estimator, Summary,
// Eigenvalues, Probes, Density and Warnings are set, Model.Parameters is n, and the rest is the caller's to
// fill in. Warnings of the caller go behind those that are there.
//
// It fails with density.ErrTooFine when Sigma2 or Points cannot be drawn.
func FromProbes(probes []lanczos.Probe, n int, s Settings) (*Result, error) {
	d := lanczos.Decompose(probes, n, Storage(s.Basis).ProductError(ProductError(s.Precision)))
	each := density.EachProbe(probes)
	m := density.Pool(each...)
	loss := 0.0
	for _, p := range probes {
		loss = max(loss, p.Orthogonality)
	}
	r := &Result{
		Schema: Schema,
		Estimator: Estimator{
			Method: MethodSLQ, Probes: len(probes), Steps: s.Steps, Seed: new(s.Seed), Precision: s.Precision,
			Reorthogonalisation: new(Reorthogonalisation), Basis: new(s.Basis), Orthogonality: new(loss),
		},
	}
	r.Model.Parameters = n
	for _, e := range d.Eigenvalues {
		r.Eigenvalues = append(r.Eigenvalues, Eigenvalue{e.Value, e.Residual, e.Weight})
	}
	for _, p := range probes {
		r.Probes = append(r.Probes, Probe{p.Nodes, p.Weights, p.BetaLast})
	}
	if err := r.smooth(m, each, density.DefaultWidth(d), s); err != nil {
		return nil, err
	}
	if r.Density != nil {
		r.Warnings = append(r.Warnings, density.Close(d.Eigenvalues, r.Density.Sigma2)...)
	}
	r.summarise(m, n, len(probes))
	return r, nil
}

// FromExact puts a result together from all eigenvalues of an operator, in any order. The width of the density
// is the one that a quadrature of 10 probes and 90 steps (of seed s.Seed) would choose, so that the curve is
// the one that FromProbes estimates.
func FromExact(ctx context.Context, eigenvalues []float64, s Settings) (*Result, error) {
	n := len(eigenvalues)
	m := density.Exact(eigenvalues)
	width, err := density.ExactWidth(ctx, m.Nodes, s.Seed, s.Threads)
	if err != nil {
		return nil, fmt.Errorf("width of the exact density: %w", err)
	}
	r := &Result{Schema: Schema, Estimator: Estimator{Method: MethodExact, Precision: s.Precision}}
	r.Model.Parameters = n
	residual := ProductError(s.Precision) * max(math.Abs(m.Min()), math.Abs(m.Max()))
	for _, x := range slices.Backward(m.Nodes) {
		r.Eigenvalues = append(r.Eigenvalues, Eigenvalue{x, residual, 1 / float64(n)})
	}
	if err := r.smooth(m, []density.Measure{m}, width, s); err != nil {
		return nil, err
	}
	r.summarise(m, n, 0)
	return r, nil
}

// smooth sets the density and its warnings.
func (r *Result) smooth(m density.Measure, each []density.Measure, def density.Width, s Settings) error {
	var c density.Curve
	paper := s.Smoothing == Ghorbani
	if paper {
		c = density.Ghorbani(each, s.Sigma2, s.Points)
	} else {
		c.Sigma2 = s.Sigma2
		if !(c.Sigma2 > 0) {
			c.Sigma2 = def.Sigma2
		}
	}
	r.Warnings = append(r.Warnings, density.Widths(def, c.Sigma2, paper || s.Sigma2 > 0)...)
	if c.Sigma2 == 0 {
		return nil
	}
	if !paper {
		var err error
		if c, err = density.Smooth(m, c.Sigma2, s.Points); err != nil {
			return err
		}
	}
	r.Density = &Density{Sigma2: c.Sigma2, Grid: c.Grid, Density: c.Density}
	if !def.Degenerate { // an atom is a spike, and has been warned about
		r.Warnings = append(r.Warnings, density.Shape(m, c)...)
	}
	r.Warnings = append(r.Warnings, density.Grids(m, c, s.Points, paper)...)
	return nil
}

// summarise sets the summary from the mean measure of k probes; k = 0: of the whole spectrum, whose numbers
// have no error.
func (r *Result) summarise(m density.Measure, n, k int) {
	sigma := 0.0
	if r.Density != nil {
		sigma = math.Sqrt(r.Density.Sigma2)
	}
	s := density.Summarise(m, n, k, sigma)
	r.Summary = Summary{
		LambdaMax: s.LambdaMax, LambdaMin: s.LambdaMin,
		Trace: s.Trace, TraceStderr: known(s.TraceStderr),
		FrobeniusSq: s.FrobeniusSq, FrobeniusSqStderr: known(s.FrobeniusSqStderr),
		Mean: s.Mean, MeanStderr: known(s.TraceStderr / float64(n)), Variance: s.Variance,
		Moment3: known(s.Moment3), Moment4: known(s.Moment4),
		MassNegative: s.MassNegative, MassZero: s.MassZero, MassPositive: s.MassPositive,
		NegativeEnergyL1: known(s.NegativeEnergyL1), NegativeEnergyL2: known(s.NegativeEnergyL2),
	}
	if k > 0 {
		return
	}
	t := &r.Summary
	t.LambdaMaxInterval, t.LambdaMinInterval = point(&t.LambdaMax), point(&t.LambdaMin)
	t.VarianceInterval, t.Moment3Interval, t.Moment4Interval = point(&t.Variance), point(t.Moment3), point(t.Moment4)
	t.MassNegativeInterval, t.MassZeroInterval, t.MassPositiveInterval = point(&t.MassNegative), point(&t.MassZero), point(&t.MassPositive)
	t.NegativeEnergyL1Interval, t.NegativeEnergyL2Interval = point(t.NegativeEnergyL1), point(t.NegativeEnergyL2)
}

// known returns nil for what is not a number: a share of nothing, or a power that left the range of float64.
func known(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

func point(x *float64) *Interval {
	if x == nil {
		return nil
	}
	return &Interval{*x, *x}
}
