package spectrum

import (
	"context"
	"fmt"
	"math"

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

// DefaultConfidence is the level of bands and intervals: the convention.
const DefaultConfidence = 0.95

// Settings is what a result depends on besides the quadratures.
type Settings struct {
	Steps     int    // of the probes, as asked for
	Seed      uint64 // of the probes
	Precision string // of the products: Float32 or Float64
	Basis     string // as Lanczos keeps it: Float32 or Float64

	Smoothing Smoothing // Scale when empty
	Sigma2    float64   // variance of the kernel; 0: chosen by the rule
	Points    int       // of the grid; 0: chosen by the rule

	Confidence float64 // level of bands and intervals, between 0 and 1; DefaultConfidence when 0

	Goal    *density.Goal // of a run that grew; nil: it had as many probes and steps as were asked for
	Stopped density.Stop  // what ended it

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
	agreed := lanczos.Agree(probes, n, Storage(s.Basis).ProductError(ProductError(s.Precision)))
	e := density.NewEstimate(probes, agreed)
	loss := 0.0
	for _, p := range probes {
		loss = max(loss, p.Orthogonality)
	}
	r := &Result{
		Schema: Schema,
		Estimator: Estimator{
			Method: MethodSLQ, Probes: len(probes), Steps: s.Steps, Seed: new(s.Seed), Precision: s.Precision,
			Reorthogonalisation: new(Reorthogonalisation), Basis: new(s.Basis), Orthogonality: new(loss), Confidence: s.confidence(),
		},
	}
	r.Model.Parameters = n
	for _, p := range probes {
		r.Probes = append(r.Probes, Probe{p.Nodes, p.Weights, p.BetaLast})
	}
	if err := r.estimate(e, density.EachProbe(probes), s); err != nil {
		return nil, err
	}
	r.Warnings = append(r.Warnings, density.Agreement(agreed)...)
	stopped := string(density.Steps)
	if s.Goal != nil {
		stopped = string(s.Stopped)
		r.Estimator.MaxProducts = new(s.Goal.MaxProducts)
		if s.Goal.Tolerance > 0 {
			r.Estimator.Tolerance = new(s.Goal.Tolerance)
		}
		r.Warnings = append(r.Warnings, density.Short(e, *s.Goal, s.Stopped)...)
	}
	r.Estimator.Stopped = &stopped
	return r, nil
}

func (s *Settings) confidence() float64 {
	if s.Confidence == 0 {
		return DefaultConfidence
	}
	return s.Confidence
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
	r := &Result{Schema: Schema, Estimator: Estimator{Method: MethodExact, Precision: s.Precision, Confidence: s.confidence()}}
	r.Model.Parameters = n
	bound := ProductError(s.Precision) * max(math.Abs(m.Min()), math.Abs(m.Max()))
	if err := r.estimate(density.NewExact(eigenvalues, bound, width), []density.Measure{m}, s); err != nil {
		return nil, err
	}
	return r, nil
}

// estimate sets what an estimate gives: eigenvalues, density, summary, warnings. each holds the quadratures as they are.
func (r *Result) estimate(e *density.Estimate, each []density.Measure, s Settings) error {
	weight := 1 / float64(r.Model.Parameters)
	var values []float64
	for _, v := range e.Known() {
		r.Eigenvalues = append(r.Eigenvalues, Eigenvalue{Value: v.Value, Residual: v.Bound, Weight: weight})
		values = append(values, v.Value)
	}
	if err := r.smooth(e, each, s); err != nil {
		return err
	}
	if r.Density != nil && r.Estimator.Method == MethodSLQ {
		r.Warnings = append(r.Warnings, density.Close(values, r.Density.Sigma2)...)
	}
	r.summarise(e, s.confidence())
	return nil
}

// smooth sets the density and its warnings.
func (r *Result) smooth(e *density.Estimate, each []density.Measure, s Settings) error {
	var c density.Curve
	def, m := e.Width(), e.Measure()
	paper := s.Smoothing == Ghorbani
	if paper {
		m = density.Pool(each...)
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
		if c, err = e.Curve(c.Sigma2, s.Points, s.confidence()); err != nil {
			return err
		}
	}
	r.Density = &Density{Sigma2: c.Sigma2, Grid: c.Grid, Density: c.Density, Lower: c.Lower, Upper: c.Upper,
		Distribution: c.Distribution, DistributionLower: c.DistributionLower, DistributionUpper: c.DistributionUpper}
	if !def.Degenerate { // an atom is a spike, and has been warned about
		r.Warnings = append(r.Warnings, density.Shape(m, c)...)
	}
	r.Warnings = append(r.Warnings, density.Grids(m, c, s.Points, paper)...)
	return nil
}

// summarise sets the summary and what the estimate foretells of itself.
func (r *Result) summarise(e *density.Estimate, level float64) {
	sigma := 0.0
	if r.Density != nil {
		sigma = math.Sqrt(r.Density.Sigma2)
	}
	s := e.Numbers(sigma, level)
	r.Summary = Summary{
		LambdaMax: s.LambdaMax.Value, LambdaMaxInterval: interval(s.LambdaMax),
		LambdaMin: s.LambdaMin.Value, LambdaMinInterval: interval(s.LambdaMin),
		Trace: s.Trace.Value, TraceStderr: known(s.Trace.Stderr), TraceInterval: interval(s.Trace),
		FrobeniusSq: s.FrobeniusSq.Value, FrobeniusSqStderr: known(s.FrobeniusSq.Stderr), FrobeniusSqInterval: interval(s.FrobeniusSq),
		Mean: s.Mean.Value, MeanStderr: known(s.Mean.Stderr), MeanInterval: interval(s.Mean),
		MeanAbs: s.MeanAbs.Value, MeanAbsInterval: interval(s.MeanAbs),
		Variance: s.Variance.Value, VarianceInterval: interval(s.Variance),
		Moment3: known(s.Moment3.Value), Moment3Interval: interval(s.Moment3),
		Moment4: known(s.Moment4.Value), Moment4Interval: interval(s.Moment4),
		MassNegative: s.MassNegative.Value, MassNegativeInterval: interval(s.MassNegative),
		MassZero: s.MassZero.Value, MassZeroInterval: interval(s.MassZero),
		MassPositive: s.MassPositive.Value, MassPositiveInterval: interval(s.MassPositive),
		NegativeEnergyL1: known(s.NegativeEnergyL1.Value), NegativeEnergyL1Interval: interval(s.NegativeEnergyL1),
		NegativeEnergyL2: known(s.NegativeEnergyL2.Value), NegativeEnergyL2Interval: interval(s.NegativeEnergyL2),
	}
	if r.Estimator.Method == MethodSLQ {
		sampling, quadrature := e.Foretell()
		r.Estimator.W1Sampling, r.Estimator.W1Quadrature = known(sampling/s.MeanAbs.Value), known(quadrature/s.MeanAbs.Value)
	}
}

// known returns nil for what is not a number: a share of nothing, or a power that left the range of float64.
func known(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

func interval(x density.Number) *Interval {
	if known(x.Lower) == nil || known(x.Upper) == nil {
		return nil
	}
	return &Interval{x.Lower, x.Upper}
}
