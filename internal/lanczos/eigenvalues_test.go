package lanczos

import (
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

func TestEigenvaluesOfOutliers(t *testing.T) {
	const n, k = 2000, 5
	d := outlierSpectrum(n)
	probes := mustRun(t, d, Options{Steps: 60, Probes: k, Seed: 1})
	dec := Decompose(probes, n, ProductError64)
	for _, want := range []float64{10, 8, 7.5, 3, -2, -5} {
		i := slices.IndexFunc(dec.Eigenvalues, func(e Eigenvalue) bool { return math.Abs(e.Value-want) <= e.Residual })
		if i < 0 {
			t.Errorf("%v not found", want)
			continue
		}
		e := dec.Eigenvalues[i]
		if e.Probes != k || !(e.Residual <= 3e-14) || !(e.Weight > 0.01/n) || !(e.Weight < 5.0/n) {
			t.Errorf("%+v", e)
		}
	}
	if !slices.IsSortedFunc(dec.Eigenvalues, func(a, b Eigenvalue) int { return -int(math.Copysign(1, a.Value-b.Value)) }) {
		t.Error("not descending")
	}
	mass := 0.0
	for _, e := range dec.Eigenvalues {
		mass += e.Weight
		found := slices.ContainsFunc(d, func(x float64) bool { return math.Abs(x-e.Value) <= 1e-9 })
		if !found {
			t.Errorf("%+v is no eigenvalue", e)
		}
	}
	rest := 0.0
	for _, r := range dec.Rest {
		for i, x := range r.Nodes {
			rest += r.Weights[i] / k
			if math.Abs(x) > 0.6 {
				t.Errorf("outlier %v in the rest", x)
			}
		}
	}
	if !(math.Abs(mass+rest-1) <= 1e-10) {
		t.Errorf("masses %v + %v", mass, rest)
	}
}

// A probe in which an eigenvalue has not quite converged keeps it out of its rest, once others have it.
func TestDecomposeStrikes(t *testing.T) {
	const n = 1000
	sharp := FromQuadrature(0, []float64{0, 0.1, 5}, []float64{0.5, 0.499, 0.001}, 0)
	vague := Probe{Index: 1, Nodes: []float64{0, 0.1, 4.9}, Weights: []float64{0.5, 0.499, 0.001}, Residuals: []float64{0.2, 0.2, 0.3}}
	d := Decompose([]Probe{sharp, vague}, n, ProductError64)
	if len(d.Eigenvalues) != 3 || d.Eigenvalues[0].Value != 5 || d.Eigenvalues[0].Probes != 1 || d.Eigenvalues[0].Weight != 0.0005 {
		t.Errorf("%+v", d.Eigenvalues)
	}
	if len(d.Rest[1].Nodes) != 0 || d.Largest != 5 || d.Norm != 5 {
		t.Errorf("%+v", d)
	}
}

func TestPairsJoinAndIgnore(t *testing.T) {
	p := Probe{
		Nodes:     []float64{-1, 0, 1, 1 + 5e-15, 2, 2.0001},
		Weights:   []float64{0.3, 0.3, 0.2, 0.1, 0.1, 1e-20},
		Residuals: []float64{1e-3, 1e-5, 1e-6, 1e-6, 1e-7, 0.5},
	}
	got := p.pairs(1000, 2.0001, 2e-15)
	want := []pair{{-1, 1e-3, 0.3, false}, {0, 1e-5, 0.3, true}, {1, 0, 0.3, true}, {2, 1e-7, 0.1, true}}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	want[2].residual = got[2].residual
	if want[2].residual > 2e-6 || !(math.Abs(got[2].weight-0.3) < 1e-15) {
		t.Errorf("joined: %+v", got[2])
	}
	got[2].weight = 0.3
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestSingleAtom(t *testing.T) {
	for _, c := range []float64{0, 1e-300, -7} {
		d := make(Diagonal, 64)
		for i := range d {
			d[i] = c
		}
		dec := Decompose(mustRun(t, d, Options{Steps: 9, Probes: 2}), 64, ProductError64)
		if len(dec.Eigenvalues) != 1 || !(math.Abs(dec.Eigenvalues[0].Value-c) <= 1e-15*math.Abs(c)) || dec.Eigenvalues[0].Probes != 2 {
			t.Errorf("c = %v: %+v", c, dec.Eigenvalues)
		}
		if len(dec.Rest[0].Nodes)+len(dec.Rest[1].Nodes) != 0 {
			t.Errorf("c = %v: rest %+v", c, dec.Rest)
		}
	}
}

// float32 products: a residual floor of 1e-7 keeps one row an eigenvalue, not one a probe.
func TestEigenvaluesOfFloat32Products(t *testing.T) {
	const n, k = 2000, 5
	d := outlierSpectrum(n)
	exact := slices.Clone(d)
	op := operatorFunc{n, nil}
	op.f = single(exact)
	rows := Eigenvalues(mustRun(t, op, Options{Steps: 60, Probes: k, Seed: 1, ProductError: ProductError32}), n, ProductError32)
	for _, want := range []float64{10, 8, 7.5, 3, -2, -5} {
		count := 0
		for _, e := range rows {
			if math.Abs(e.Value-want) < 1e-3 {
				count++
				if !(math.Abs(e.Value-want) <= 2e-6) || e.Probes != k {
					t.Errorf("%+v", e)
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
		a, b := Eigenvalues([]Probe{p}, n, ProductError64), Eigenvalues([]Probe{q}, n, ProductError64)
		if len(a) != len(b) {
			t.Errorf("%d eigenvalues, want %d", len(b), len(a))
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
