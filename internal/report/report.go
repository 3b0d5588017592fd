// Package report shows spectra to people: pictures as SVG, PNG and PDF, a picture for the
// terminal, and the summary and tables that go with them.
//
// A picture never changes a number: the floor of a logarithmic axis, the thinning of a grid to
// the picture's width and the symmetric logarithmic axis are for drawing alone. The same input
// gives the same bytes, whatever the format.
package report

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"hessdens/internal/spectrum"
)

// Curve is one spectrum as the pictures need it.
type Curve struct {
	// Name stands in the legend, and beside the row of PlotEvolution.
	Name string

	// Grid holds the values of λ, ascending; Density is φ at each. Both are empty where there is
	// no smooth density, as for H = 0.
	Grid, Density []float64

	// Lower and Upper bound φ at each point of Grid, or are nil.
	Lower, Upper []float64

	// Sigma2 is the variance of the kernel that smoothed the density; 0 when not known.
	Sigma2 float64

	// Eigenvalues holds the converged ones, in any order.
	Eigenvalues []float64

	// Parameters is the number n of parameters, 0 when not known. One eigenvalue has the height
	// 1/(n √(2π σ²)), which says how far down a picture has to go.
	Parameters int

	// Min and Max are the extreme eigenvalues, known when Min <= Max and one of them is not 0.
	Min, Max float64
}

// FromResult is the curve of a result under a name; it shares the slices of the result's density.
func FromResult(name string, r *spectrum.Result) Curve {
	c := Curve{
		Name: name, Parameters: r.Model.Parameters, Eigenvalues: converged(r),
		Min: r.Summary.LambdaMin, Max: r.Summary.LambdaMax,
	}
	if d := r.Density; d != nil {
		c.Grid, c.Density, c.Lower, c.Upper, c.Sigma2 = d.Grid, d.Density, d.Lower, d.Upper, d.Sigma2
	}
	return c
}

// converged are the values of a result's converged eigenvalues.
func converged(r *spectrum.Result) []float64 {
	values := make([]float64, len(r.Eigenvalues))
	for i, e := range r.Eigenvalues {
		values[i] = e.Value
	}
	return values
}

// ErrNothing is returned where there is no spectrum to draw.
var ErrNothing = errors.New("there is no spectrum to draw (give at least one)")

// check says what is wrong with a curve's arrays.
func (c *Curve) check() error {
	n := len(c.Grid)
	switch {
	case len(c.Density) != n:
		return fmt.Errorf("spectrum %q: %d densities for %d grid points", c.Name, len(c.Density), n)
	case c.Lower != nil && len(c.Lower) != n, c.Upper != nil && len(c.Upper) != n, (c.Lower == nil) != (c.Upper == nil):
		return fmt.Errorf("spectrum %q: a band of %d and %d values for %d grid points", c.Name, len(c.Lower), len(c.Upper), n)
	}
	for i, x := range c.Grid {
		if !finite(x) {
			return fmt.Errorf("spectrum %q: grid point %d is %v", c.Name, i, x)
		}
		if i > 0 && x < c.Grid[i-1] {
			return fmt.Errorf("spectrum %q: grid point %d is below the one before it", c.Name, i)
		}
	}
	return nil
}

func checkAll(curves []Curve) error {
	if len(curves) == 0 {
		return ErrNothing
	}
	for i := range curves {
		if err := curves[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// hasExtremes says whether Min and Max are known.
func (c *Curve) hasExtremes() bool {
	return c.Min <= c.Max && finite(c.Min) && finite(c.Max) && (c.Min != 0 || c.Max != 0)
}

// domain is the smallest interval that holds all that curves have to show, widened where it
// would be empty.
func domain(curves []Curve) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	see := func(x float64) {
		if finite(x) {
			lo, hi = math.Min(lo, x), math.Max(hi, x)
		}
	}
	for _, c := range curves {
		for _, x := range c.Eigenvalues {
			see(x)
		}
		if len(c.Grid) > 0 {
			see(c.Grid[0])
			see(c.Grid[len(c.Grid)-1])
		}
		if c.hasExtremes() {
			see(c.Min)
			see(c.Max)
		}
	}
	switch {
	case lo > hi:
		return -1, 1
	case lo == hi:
		pad := math.Abs(lo) / 2
		if pad == 0 {
			pad = 1
		}
		return lo - pad, hi + pad
	}
	return lo, hi
}

// peak is the largest finite value of a density or of its band's upper side, 0 where there is none.
func peak(curves []Curve) float64 {
	top := 0.0
	for _, c := range curves {
		for _, ys := range [][]float64{c.Density, c.Upper} {
			for _, y := range ys {
				if finite(y) {
					top = math.Max(top, y)
				}
			}
		}
	}
	return top
}

// decades of a density that a picture shows below its peak at most, as the paper's figures do.
const decades = 10

// logRange is the range of log10 φ that a picture shows: from a whole number that is two decades or so
// below the height of one eigenvalue, but not more than `decades` below the peak, up to the peak.
func logRange(curves []Curve) (lo, hi float64) {
	top := peak(curves)
	if top == 0 {
		return -1, 1
	}
	hi = math.Log10(top)
	lo = math.Inf(1)
	for _, c := range curves {
		low := hi - decades
		if c.Parameters > 0 && c.Sigma2 > 0 {
			single := -math.Log10(float64(c.Parameters)) - 0.5*math.Log10(2*math.Pi*c.Sigma2)
			low = math.Max(low, single-2)
		}
		if len(c.Grid) > 0 {
			lo = math.Min(lo, low)
		}
	}
	lo = math.Floor(math.Min(lo, hi-3))
	return lo, hi
}

// bulkWidth is the width of the interval between the 1 % and the 99 % quantile of a density; 0
// where there is no density.
func bulkWidth(c *Curve) float64 {
	if len(c.Grid) < 2 {
		return 0
	}
	total := make([]float64, len(c.Grid))
	for i := 1; i < len(total); i++ {
		a := (positive(c.Density[i-1]) + positive(c.Density[i])) / 2 * (c.Grid[i] - c.Grid[i-1])
		total[i] = total[i-1] + a
	}
	all := total[len(total)-1]
	if !(all > 0) || !finite(all) {
		return 0
	}
	at := func(q float64) float64 { return c.Grid[sort.SearchFloat64s(total, q*all)] }
	return at(0.99) - at(0.01)
}

func positive(x float64) float64 {
	if finite(x) && x > 0 {
		return x
	}
	return 0
}

// descending is a sorted copy of the finite values.
func descending(xs []float64) []float64 {
	out := make([]float64, 0, len(xs))
	for _, x := range xs {
		if finite(x) {
			out = append(out, x)
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}
