package spectrum

import (
	"math"

	"hessdens/internal/density"
)

// SetDataErrors sets what the blocks of the data say of another sample of as many examples: values[i] is the eigenvalue of the i-th
// vector of b.Known, and every error is multiplied by correction, that of a population which is not much larger than the sample.
func (r *Result) SetDataErrors(b *density.Blocks, values []float64, correction float64) {
	for i, x := range values {
		stderr := known(correction * b.Eigenvalue(i))
		for j := range r.Eigenvalues {
			if r.Eigenvalues[j].Value == x {
				r.Eigenvalues[j].DataStderr = stderr
			}
		}
	}
	if s := &r.Summary; len(r.Eigenvalues) > 0 {
		if first := r.Eigenvalues[0]; first.Value == s.LambdaMax {
			s.LambdaMaxDataStderr = first.DataStderr
		}
		if last := r.Eigenvalues[len(r.Eigenvalues)-1]; last.Value == s.LambdaMin {
			s.LambdaMinDataStderr = last.DataStderr
		}
	}
	r.Summary.TraceDataStderr = known(correction * b.Trace())
	r.Data.Blocks = new(len(b.Share))
}

// SetSubsets sets what the same run on disjoint parts of the data says, of which r is the first: their numbers, and the standard deviation
// of their densities, all on the grid and with the width of r, times correction.
func (r *Result) SetSubsets(others []*Result, correction float64) {
	all := append([]*Result{r}, others...)
	r.Data.Subsets = nil
	for _, x := range all {
		s := &x.Summary
		r.Data.Subsets = append(r.Data.Subsets, Subset{s.LambdaMax, s.LambdaMin, s.Trace, s.FrobeniusSq})
	}
	if r.Density == nil {
		return
	}
	curves := make([][]float64, len(all))
	for i, x := range all {
		m := x.Measure()
		if r.Density.Lower == nil { // the rule of the paper's code: quadratures as they are
			m = density.Pool(x.Measures()...)
		}
		curves[i] = density.On(m, r.Density.Sigma2, r.Density.Grid)
	}
	r.Density.DataStderr = make([]float64, len(r.Density.Grid))
	count := float64(len(all))
	for i := range r.Density.Grid {
		mean, squares := 0.0, 0.0
		for _, c := range curves {
			mean += c[i] / count
		}
		for _, c := range curves {
			squares += (c[i] - mean) * (c[i] - mean)
		}
		r.Density.DataStderr[i] = correction * math.Sqrt(squares/(count-1))
	}
}
