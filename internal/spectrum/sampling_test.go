package spectrum

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/density"
)

// sampled is a result of a part of the data, on which others were measured too.
func sampled(t testing.TB) *Result {
	t.Helper()
	e := spectrumOf(300)
	r := estimate(t, e, Settings{})
	r.Data.Total, r.Data.DrawnFrom = new(640), new(320)
	b := density.Blocks{Order: 300, Share: []float64{0.5, 0.25, 0.25}, Known: [][]float64{{10, 1}, {6, 0}, {4, -4}},
		Rest: [][]float64{{1, 2}, {1, 1}, {0, 1}}}
	r.SetDataErrors(&b, []float64{r.Eigenvalues[0].Value, r.Eigenvalues[len(r.Eigenvalues)-1].Value}, 0.5)
	for i := range e {
		e[i] *= 1.1
	}
	r.SetSubsets([]*Result{estimate(t, e, Settings{})}, 0.5)
	return r
}

// Errors stand where their eigenvalues do; what was not measured is not known.
func TestDataErrors(t *testing.T) {
	r := sampled(t)
	// d = q − share·Σq: of the first 0, 1, −1; of the second 2.5, 0.75, −3.25. 1/(1 − Σ share²) = 1.6.
	first, last := 0.5*math.Sqrt(1.6*2), 0.5*math.Sqrt(1.6*(2.5*2.5+0.75*0.75+3.25*3.25))
	for i, v := range r.Eigenvalues {
		switch {
		case i == 0 || i == len(r.Eigenvalues)-1:
			want := first
			if i > 0 {
				want = last
			}
			if v.DataStderr == nil || !(math.Abs(*v.DataStderr-want) <= 1e-12) {
				t.Errorf("eigenvalue %d: %v, want %v", i, v.DataStderr, want)
			}
		case v.DataStderr != nil:
			t.Errorf("eigenvalue %d has the error %v of another", i, *v.DataStderr)
		}
	}
	s := &r.Summary
	if s.LambdaMaxDataStderr == nil || *s.LambdaMaxDataStderr != *r.Eigenvalues[0].DataStderr || s.LambdaMinDataStderr == nil || s.TraceDataStderr == nil {
		t.Errorf("%+v", s)
	}
	if *r.Data.Blocks != 3 || len(r.Data.Subsets) != 2 || r.Data.Subsets[0].Trace != s.Trace || !(r.Data.Subsets[1].LambdaMax > s.LambdaMax) {
		t.Errorf("%+v", r.Data)
	}

	same := estimate(t, spectrumOf(300), Settings{})
	same.SetSubsets([]*Result{estimate(t, spectrumOf(300), Settings{})}, 1)
	for i, e := range same.Density.DataStderr {
		if e != 0 {
			t.Fatalf("equal densities: the error is %v at point %d", e, i)
		}
	}
}

// The deviation of two densities y and z is |y − z|/√2 at every point, by the rule of the paper's code too.
func TestSubsetsDensity(t *testing.T) {
	e := spectrumOf(300)
	for _, rule := range []Smoothing{Scale, Ghorbani} {
		r, other := estimate(t, e, Settings{Smoothing: rule}), estimate(t, e, Settings{Smoothing: rule, Seed: 1})
		for i := range other.Probes {
			for j := range other.Probes[i].Nodes {
				other.Probes[i].Nodes[j] *= 1.01
			}
		}
		r.SetSubsets([]*Result{other}, 1)
		of := func(r *Result) density.Measure {
			if rule == Ghorbani {
				return density.Pool(r.Measures()...)
			}
			return r.Measure()
		}
		y, z := density.On(of(r), r.Density.Sigma2, r.Density.Grid), density.On(of(other), r.Density.Sigma2, r.Density.Grid)
		for i, got := range r.Density.DataStderr {
			if want := math.Abs(y[i]-z[i]) / math.Sqrt2; !(math.Abs(got-want) <= 1e-12*(y[i]+z[i])+1e-100) {
				t.Fatalf("%s, point %d: %v, want %v", rule, i, got, want)
			}
		}
		if slices.Max(r.Density.DataStderr) == 0 {
			t.Errorf("%s: no difference: the test shows nothing", rule)
		}
	}
}

func TestSampledCSV(t *testing.T) {
	var b bytes.Buffer
	if err := EncodeCSV(&b, sampled(t)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if lines[0] != "eigenvalue,density,lower,upper,data_stderr" || strings.Count(lines[1], ",") != 4 {
		t.Errorf("%s\n%s", lines[0], lines[1])
	}
}
