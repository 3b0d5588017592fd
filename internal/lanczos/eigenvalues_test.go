package lanczos

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// outlierSpectrum has outliers on both sides of a bulk.
func outlierSpectrum(n int) Diagonal {
	rng := rand.New(rand.NewPCG(6, 6))
	d := make(Diagonal, n)
	for i := range d {
		d[i] = 0.1 * rng.NormFloat64()
	}
	copy(d, []float64{10, 8, 7.5, 3, -2, -5})
	return d
}

func agree(t *testing.T, op Operator, k, m int, seed uint64, productError float64) ([]Probe, Eigenvalues) {
	t.Helper()
	probes := mustRun(t, op, Options{Steps: m, Probes: k, Seed: seed, ProductError: productError})
	return probes, Agree(probes, op.Dim(), productError)
}

// checkRest holds the rests of probes against what they must be: no eigenvalue of the list, mass 1.
func checkRest(t *testing.T, probes []Probe, e Eigenvalues) {
	t.Helper()
	for i, r := range e.Rest(probes) {
		mass := 0.0
		for l, x := range r.Nodes {
			mass += r.Weights[l]
			for _, v := range e.List {
				if math.Abs(x-v.Value) <= v.Bound {
					t.Errorf("probe %d: %v is in the rest", i, x)
				}
			}
		}
		if !(math.Abs(mass-1) <= 1e-12) || !slices.IsSorted(r.Nodes) {
			t.Errorf("probe %d: rest of mass %v", i, mass)
		}
	}
}

func TestAgreeOnOutliers(t *testing.T) {
	const n = 2000
	d := outlierSpectrum(n)
	for _, k := range []int{1, 2, 5} {
		probes, e := agree(t, d, k, 60, 1, ProductError64)
		if e.Assumed != (k == 1) || e.Norm != 10 && !(math.Abs(e.Norm-10) <= 1e-13) {
			t.Errorf("k = %d: %+v", k, e)
		}
		for i, want := range []float64{10, 8, 7.5, 3} {
			if got := e.List[i]; !(math.Abs(got.Value-want) <= got.Bound) || !(got.Bound <= 1e-12) || got.Probes != k {
				t.Errorf("k = %d: %+v, want %v", k, got, want)
			}
		}
		for i, want := range []float64{-5, -2} {
			if got := e.List[len(e.List)-1-i]; !(math.Abs(got.Value-want) <= got.Bound) {
				t.Errorf("k = %d: %+v, want %v", k, got, want)
			}
		}
		for _, v := range e.List {
			if !slices.ContainsFunc(d, func(x float64) bool { return math.Abs(x-v.Value) <= v.Bound }) {
				t.Errorf("k = %d: %+v is no eigenvalue", k, v)
			}
		}
		checkRest(t, probes, e)
	}
}

// Multiplicities 2 and 3 show, one of 40 is left alone, and so is the bulk of 50 values 39 times each.
func TestAgreeOnMultiplicities(t *testing.T) {
	var d Diagonal
	for _, c := range []struct {
		value float64
		times int
	}{{10, 2}, {6, 3}, {3, 40}} {
		d = append(d, slices.Repeat([]float64{c.value}, c.times)...)
	}
	for i := range 50 {
		d = append(d, slices.Repeat([]float64{-1 + 2*float64(i)/49}, 39)...)
	}
	probes, e := agree(t, d, 10, 90, 2, ProductError64)
	want := []float64{10, 10, 6, 6, 6}
	if len(e.List) != len(want) || e.Unresolved == 0 || e.Assumed {
		t.Fatalf("%+v", e)
	}
	for i, x := range want {
		if v := e.List[i]; !(math.Abs(v.Value-x) <= v.Bound) || !(v.Bound <= 1e-11) || v.Probes != 10 {
			t.Errorf("%+v, want %v", v, x)
		}
	}
	checkRest(t, probes, e)
	// As many probes as dimensions cannot tell.
	if _, e := agree(t, d, 2, 90, 2, ProductError64); len(e.List) != 0 {
		t.Errorf("k = 2: %+v", e.List)
	}
}

// An eigenvalue that hides in a probe is not taken from what is near it: a pair that is blurred gives 1/n, one out of
// reach nothing.
func TestRest(t *testing.T) {
	probe := func(residual float64) Probe {
		return Probe{Nodes: []float64{0, 0.1, 5}, Weights: []float64{0.5, 0.48, 0.02}, Residuals: []float64{0.01, 0.01, residual}}
	}
	e := Eigenvalues{Order: 100, Norm: 5, List: []Eigenvalue{{Value: 4.9}}}
	for _, c := range []struct {
		residual, left float64
	}{{0.05, 0.02}, {0.2, 0}, {2, 0.01}} {
		r := e.Rest([]Probe{probe(c.residual)})[0]
		left := 0.0
		if len(r.Nodes) == 3 {
			left = r.Weights[2] * (0.98 + c.left)
		}
		if !(math.Abs(left-c.left) <= 1e-15) {
			t.Errorf("residual %v: %+v", c.residual, r)
		}
	}
}

func TestPairsJoinAndIgnore(t *testing.T) {
	p := Probe{
		Nodes:     []float64{-1, 0, 1, 1 + 5e-15, 2, 2.0001},
		Weights:   []float64{0.3, 0.3, 0.2, 0.1, 0.1, 1e-20},
		Residuals: []float64{1e-3, 1e-5, 1e-6, 1e-6, 1e-7, 0.5},
	}
	got := p.pairs(1000, 2.0001, 2e-15)
	want := []pair{{value: -1, residual: 1e-3, weight: 0.3, gap: 1}, {value: 0, residual: 1e-5, weight: 0.3, gap: 1},
		{value: 1, weight: 0.3, gap: 1}, {value: 2, residual: 1e-7, weight: 0.1, gap: 1}}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, w := range want {
		if g := got[i]; g.value != w.value || g.gap != w.gap || !(math.Abs(g.weight-w.weight) < 1e-15) || i != 2 && g.residual != w.residual || g.residual > 2e-3 {
			t.Errorf("got %+v, want %+v", g, w)
		}
	}
	if got[2].residual > 2e-6 {
		t.Errorf("joined: %+v", got[2])
	}
}

// A spectrum of one or two values: what takes all that the probes hold cannot be single.
func TestFewAtoms(t *testing.T) {
	for _, c := range []float64{0, 1e-300, -7} {
		for _, k := range []int{1, 2} {
			probes, e := agree(t, Diagonal(slices.Repeat([]float64{c}, 64)), k, 9, 0, ProductError64)
			if len(e.List) != 0 || e.Unresolved != 1 || e.Assumed {
				t.Errorf("c = %v: %+v", c, e)
			}
			if r := e.Rest(probes); len(r[0].Nodes) != 1 || r[0].Weights[0] != 1 {
				t.Errorf("c = %v: %+v", c, r)
			}
		}
	}
	for k, want := range map[int]int{1: 1, 4: 3} { // four probes see that 1 is double
		_, e := agree(t, Diagonal{1, 1, 2}, k, 3, 0, ProductError64)
		if len(e.List) != want || e.List[0].Value != 2 && k == 4 {
			t.Errorf("k = %d: %+v", k, e)
		}
	}
	probes, e := agree(t, Diagonal{1, 2, 3}, 1, 3, 0, ProductError64)
	if r := e.Rest(probes); len(e.List) != 3 || len(r[0].Nodes) != 0 {
		t.Errorf("%+v, %+v", e, r)
	}
}

// float32 products: one row an eigenvalue, not one a probe.
func TestAgreeOnFloat32Products(t *testing.T) {
	const n, k = 2000, 5
	d := outlierSpectrum(n)
	_, e := agree(t, operatorFunc{n, single(d)}, k, 60, 1, ProductError32)
	for _, want := range []float64{10, 8, 7.5, 3, -2, -5} {
		count := 0
		for _, v := range e.List {
			if math.Abs(v.Value-want) < 1e-3 {
				count++
				if !(math.Abs(v.Value-want) <= v.Bound) || v.Probes != k || !(v.Bound <= 1e-5) {
					t.Errorf("%+v", v)
				}
			}
		}
		if count != 1 {
			t.Errorf("%v found %d times", want, count)
		}
	}
}

func TestFromQuadrature(t *testing.T) {
	const n = 500
	d := outlierSpectrum(n)
	for _, p := range mustRun(t, d, Options{Steps: 40, Probes: 2, Seed: 4}) {
		q := FromQuadrature(p.Index, p.Nodes, p.Weights, p.BetaLast)
		norm := 10.0
		for i, want := range p.Residuals {
			if got := q.Residuals[i]; !(math.Abs(got-want) <= 1e-6*want+1e-13*norm) {
				t.Errorf("residual %d: %g, want %g", i, got, want)
			}
			if s := p.first[i] * p.last[i] * q.first[i] * q.last[i]; math.Abs(p.last[i]) > 1e-10 && math.Abs(p.first[i]) > 1e-10 && !(s > 0) {
				t.Errorf("sign of component %d", i)
			}
		}
		for i := range p.Alpha {
			if !(math.Abs(p.Alpha[i]-q.Alpha[i]) <= 1e-10*norm) || i > 0 && !(math.Abs(p.Beta[i-1]-q.Beta[i-1]) <= 1e-10*norm) {
				t.Errorf("row %d of T: %v, %v", i, q.Alpha[i], p.Alpha[i])
			}
		}
		a, b := Agree([]Probe{p}, n, ProductError64), Agree([]Probe{q}, n, ProductError64)
		if len(a.List) != len(b.List) || !b.Assumed {
			t.Errorf("%d eigenvalues, want %d", len(b.List), len(a.List))
		}
	}
	// Nodes that coincide and weights of zero do no harm.
	q := FromQuadrature(0, []float64{1, 1, 2}, []float64{0.5, 0.5, 0}, 0.1)
	for i, r := range q.Residuals {
		if math.IsNaN(r) || r < 0 || r > 0.1 {
			t.Errorf("residual %d: %v", i, r)
		}
	}
}

// spiked is diag(5, 4, 3, 0, …) + ZZᵀ/n, Z n × n of normal numbers: above the bulk, which ends at 4, stand θ + θ/(θ − 1)
// of the spikes θ (Baik and Silverstein 2006, for the additive form), each alone.
type spiked struct {
	n int
	z []float32
}

func (s spiked) Dim() int { return s.n }
func (s spiked) Apply(_ context.Context, dst, src [][]float64) error {
	for k, x := range src {
		u := make([]float64, s.n) // Zᵀ x
		for i, a := range x {
			for j, z := range s.z[i*s.n : (i+1)*s.n] {
				u[j] += float64(z) * a
			}
		}
		for i := range x {
			sum := 0.0
			for j, z := range s.z[i*s.n : (i+1)*s.n] {
				sum += float64(z) * u[j]
			}
			dst[k][i] = sum / float64(s.n)
			if i < 3 {
				dst[k][i] += float64(5-i) * x[i]
			}
		}
	}
	return nil
}

func TestSpikes(t *testing.T) {
	if testing.Short() {
		t.Skip("a second")
	}
	s := spiked{n: 2000}
	s.z = make([]float32, s.n*s.n)
	rng := rand.New(rand.NewPCG(9, 9))
	for i := range s.z {
		s.z[i] = float32(rng.NormFloat64())
	}
	probes, e := agree(t, s, 2, 70, 0, ProductError64)
	for i, want := range []float64{6.25, 5 + 1./3, 4.5} {
		// The matrix's own fluctuation is of order 1/√n.
		if i >= len(e.List) || !(math.Abs(e.List[i].Value-want) <= 0.25) || e.List[i].Probes != 2 {
			t.Fatalf("%+v, want %v", e.List, want)
		}
	}
	checkRest(t, probes, e)
}

// Products that are worse than their stated error: probes see an eigenvalue further apart than that, and it is listed once.
func TestAgreeOnNoisyProducts(t *testing.T) {
	const n, k, noise = 2000, 5, 3e-6
	d := outlierSpectrum(n)
	noisy := func(_ context.Context, dst, src [][]float64) error {
		for j, x := range src {
			for i := range x {
				// Neither linear nor symmetric, of a size that depends on the low bits of x.
				bits := math.Float64bits(x[i]) * 0x9e3779b97f4a7c15
				dst[j][i] = d[i] * x[i] * (1 + noise*(float64(bits>>11)*0x1p-53-0.5))
			}
		}
		return nil
	}
	_, e := agree(t, operatorFunc{n, noisy}, k, 60, 1, ProductError32)
	for _, want := range []float64{10, 8, 7.5, 3, -2, -5} {
		count := 0
		for _, v := range e.List {
			if math.Abs(v.Value-want) < 0.1 {
				count++
				if !(math.Abs(v.Value-want) <= v.Bound) || !(v.Bound <= 1e-3) {
					t.Errorf("%+v, want %v", v, want)
				}
			}
		}
		if count != 1 {
			t.Errorf("%v found %d times", want, count)
		}
	}

	// An error that all products share is not seen by them, but by a better product.
	scaled := func(_ context.Context, dst, src [][]float64) error {
		for j, x := range src {
			for i := range x {
				dst[j][i] = 1.00001 * d[i] * x[i]
			}
		}
		return nil
	}
	probes := mustRun(t, operatorFunc{n, scaled}, Options{Steps: 60, Probes: 2})
	if probes[0].Outermost == nil || probes[1].Outermost != nil || !(probes[0].Asymmetry < 1e-12) {
		t.Fatalf("asymmetry %v", probes[0].Asymmetry)
	}
	y := make([]float64, n)
	if err := d.Apply(t.Context(), [][]float64{y}, [][]float64{probes[0].Outermost}); err != nil {
		t.Fatal(err)
	}
	probes[0].ProductError = probes[0].Residual(y)
	if v := Agree(probes, n, ProductError64).List[0]; !(math.Abs(v.Value-10) <= v.Bound) || !(v.Bound <= 1.1e-4) {
		t.Errorf("%+v, want 10", v)
	}
}
