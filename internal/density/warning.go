package density

import (
	"fmt"
	"math"

	"hessdens/internal/lanczos"
)

// Codes of warnings.
const (
	ZeroOperator     = "zero_operator"     // every eigenvalue is 0: no density
	Degenerate       = "degenerate_width"  // a few atoms: the width is a share of the spectrum's extent
	SpikeUnresolved  = "spike_unresolved"  // the highest peak's shape is the kernel's
	Sigma2Narrow     = "sigma2_narrow"     // narrower than the quadrature resolves
	EigenvaluesClose = "eigenvalues_close" // converged eigenvalues that the kernel joins
	PointsTooFew     = "points_too_few"    // --points would be coarser than σ/2
	GridTooCoarse    = "grid_coarse"       // the paper's grid is coarser than σ/2
	PeaksCut         = "density_cut"       // the paper's grid ends before the density does
	Multiplicity     = "multiplicity_one"  // one probe: that eigenvalues are single is assumed

	ToleranceMissed    = "tolerance_missed"    // the run ended before the error it foretells was within the tolerance
	EigenvaluesMissing = "eigenvalues_missing" // or before the eigenvalues asked for were known
)

const (
	spikeMass   = 0.25 // of the mass within 2σ of the maximum
	narrowWidth = 0.7  // of the default width: the quadrature's error begins there
)

// Warning is something that a reader of a result must know. Code is one of the constants; Message says what to do.
type Warning struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func warn(code, format string, args ...any) Warning {
	return Warning{code, fmt.Sprintf(format, args...)}
}

// Widths returns the warnings about a variance: chosen is the one in use, set says that it was asked for and
// not taken from def.
func Widths(def Width, chosen float64, set bool) []Warning {
	var w []Warning
	switch {
	case def.Sigma2 == 0:
		w = append(w, warn(ZeroOperator, "every eigenvalue found is 0 (or too small to square): there is no density"))
	case def.Degenerate && !set:
		w = append(w, warn(Degenerate, "besides eigenvalues that converged a probe has a median of %d nodes, fewer than %d or all within rounding: "+
			"the spectrum is a few atoms, and sigma2 = %.3g is a share of its extent, not a resolution", def.Rest, fewNodes, def.Sigma2))
	case set && !def.Degenerate && chosen < narrowWidth*narrowWidth*def.Sigma2:
		w = append(w, warn(Sigma2Narrow, "sigma2 = %.3g is a width of %.2f of what the quadrature resolves: the density shows its nodes (take sigma2 = %.3g, or more --steps)",
			chosen, math.Sqrt(chosen/def.Sigma2), def.Sigma2))
	}
	return w
}

// Shape returns the warnings about a curve of m.
func Shape(m Measure, c Curve) []Warning {
	if mass, at := massAround(m, c); mass > spikeMass {
		return []Warning{warn(SpikeUnresolved, "%.0f %% of the eigenvalues lie within 2σ of the maximum at %.3g: that peak is not resolved, its height is set by sigma2",
			100*min(mass, 1), at)}
	}
	return nil
}

// Close returns the warning about converged eigenvalues, descending, that a kernel of variance sigma2 does not
// separate.
func Close(rows []float64, sigma2 float64) []Warning {
	pairs, first := 0, 0
	for i := 1; i < len(rows); i++ {
		if rows[i-1]-rows[i] < 2*math.Sqrt(sigma2) {
			if pairs == 0 {
				first = i
			}
			pairs++
		}
	}
	if pairs == 0 {
		return nil
	}
	return []Warning{warn(EigenvaluesClose, "converged eigenvalues closer than 2σ, as %.6g and %.6g are: the density does not separate %d such neighbours, the list of eigenvalues does",
		rows[first-1], rows[first], pairs)}
}

// Agreement returns the warning about eigenvalues that one probe alone has found.
func Agreement(e lanczos.Eigenvalues) []Warning {
	if !e.Assumed {
		return nil
	}
	return []Warning{warn(Multiplicity, "multiplicity assumed 1: one probe cannot see how often an eigenvalue stands there (take two --probes or more)")}
}

// Grids returns the warnings about the grid of a curve of m for which a number of points was asked (0: none).
func Grids(m Measure, c Curve, points int, paper bool) []Warning {
	sigma := math.Sqrt(c.Sigma2)
	if !paper {
		if points > 0 && points < len(c.Grid) && points < FewestPoints(m, c.Sigma2) {
			return []Warning{warn(PointsTooFew, "%d points would be coarser than σ/2: %d are used", points, len(c.Grid))}
		}
		return nil
	}
	var w []Warning
	if step := c.Grid[1] - c.Grid[0]; step > widestStep*sigma {
		w = append(w, warn(GridTooCoarse, "the grid's step %.3g is coarser than σ/2 = %.3g: peaks can fall between its points (--smoothing scale does not do that)", step, sigma/2))
	}
	if m.Min()-3*sigma < c.Grid[0] || m.Max()+3*sigma > c.Grid[len(c.Grid)-1] {
		w = append(w, warn(PeaksCut, "the grid from %.6g to %.6g cuts the outermost peaks (--smoothing scale does not do that)", c.Grid[0], c.Grid[len(c.Grid)-1]))
	}
	return w
}
