package density

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sbinet/npyio/npz"

	"hessdens/internal/lanczos"
)

// eigenvaluesOf returns the spectrum of a case of testdata/reference, or of the folder that HESSDENS_REFERENCE names; nil
// where there is none.
func eigenvaluesOf(t testing.TB, name string) []float64 {
	t.Helper()
	path := filepath.Join("..", "..", "testdata", "reference", "cases", name+".npz")
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join(os.Getenv("HESSDENS_REFERENCE"), "cases", name+".npz")
	}
	f, err := npz.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var e []float64
	if err := f.Read("eig_H.npy", &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func run(t testing.TB, eigenvalues []float64, k, m int, seed uint64) []lanczos.Probe {
	t.Helper()
	p, err := lanczos.Run(context.Background(), lanczos.Diagonal(eigenvalues), lanczos.Options{Probes: k, Steps: m, Seed: seed, Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func widthOf(probes []lanczos.Probe, n int) Width {
	return estimateOf(probes, n).Width()
}

func estimateOf(probes []lanczos.Probe, n int) *Estimate {
	return NewEstimate(probes, lanczos.Agree(probes, n, lanczos.ProductError64))
}

func mustSmooth(t testing.TB, m Measure, sigma2 float64, points int) Curve {
	t.Helper()
	c, err := Smooth(m, sigma2, points)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// bulk is a spectrum of n eigenvalues: a bulk, a spike at zero, outliers on both sides.
func bulk(n int) []float64 {
	rng := rand.New(rand.NewPCG(1, 1))
	e := make([]float64, n)
	for i := n / 3; i < n; i++ {
		e[i] = 0.05 * rng.NormFloat64()
	}
	copy(e, []float64{20, 12, 5, 4.99, -3})
	return e
}

func TestMeasure(t *testing.T) {
	m := NewMeasure([]float64{3, 1, 2}, []float64{0.2, 0.5, 0.3})
	if !slices.Equal(m.Nodes, []float64{1, 2, 3}) || !slices.Equal(m.Weights, []float64{0.5, 0.3, 0.2}) {
		t.Errorf("%+v", m)
	}
	p := Pool(m, NewMeasure([]float64{2.5}, []float64{1}))
	if !slices.Equal(p.Nodes, []float64{1, 2, 2.5, 3}) || !slices.Equal(p.Weights, []float64{0.25, 0.15, 0.5, 0.1}) {
		t.Errorf("%+v", p)
	}
	if got := p.Mass(2, 2.5); got != 0.65 {
		t.Errorf("mass %v", got)
	}
	if p.Min() != 1 || p.Max() != 3 || p.Zero() || !Exact([]float64{0, 0}).Zero() {
		t.Error("extremes")
	}
}

func TestNumbersOfExact(t *testing.T) {
	e := []float64{4, -1, 0, 2, -3}
	s := NewExact(e, 1e-15, Width{}).Numbers(0.5, 0.95)
	for _, c := range []struct {
		name string
		got  Number
		want float64
	}{
		{"trace", s.Trace, 2}, {"frobenius", s.FrobeniusSq, 30}, {"mean absolute", s.MeanAbs, 2},
		{"mean", s.Mean, 0.4}, {"variance", s.Variance, 6 - 0.16}, {"third", s.Moment3, (64 - 1 + 8 - 27) / 5.}, {"fourth", s.Moment4, (256 + 1 + 16 + 81) / 5.},
		{"negative", s.MassNegative, 0.4}, {"zero", s.MassZero, 0.2}, {"positive", s.MassPositive, 0.4},
		{"L1", s.NegativeEnergyL1, 0.4}, {"L2", s.NegativeEnergyL2, 1. / 3},
	} {
		if !(math.Abs(c.got.Value-c.want) <= 1e-14*max(1, math.Abs(c.want))) || c.got.Stderr != 0 || c.got.Lower != c.got.Value || c.got.Upper != c.got.Value {
			t.Errorf("%s: %+v, want %v", c.name, c.got, c.want)
		}
	}
	if s.LambdaMax != (Number{4, 0, 4 - 1e-15, 4 + 1e-15}) || s.LambdaMin.Value != -3 {
		t.Errorf("extremes %+v, %+v", s.LambdaMax, s.LambdaMin)
	}
	if s := NewExact(e, 0, Width{}).Numbers(1, 0.95); s.MassNegative.Value != 0.2 || math.Abs(s.MassZero.Value-0.4) > 1e-15 {
		t.Error("a node at −σ is not below it")
	}
	zero := NewExact([]float64{0, 0}, 0, Width{}).Numbers(0, 0.95)
	if !math.IsNaN(zero.NegativeEnergyL1.Value) || !math.IsNaN(zero.NegativeEnergyL2.Value) || zero.MassZero.Value != 1 || zero.Trace.Stderr != 0 {
		t.Errorf("zero operator: %+v", zero)
	}
}

func TestW1(t *testing.T) {
	a := NewMeasure([]float64{0, 1}, []float64{0.5, 0.5})
	for _, c := range []struct {
		b    Measure
		want float64
	}{
		{a, 0},
		{NewMeasure([]float64{2, 3}, []float64{0.5, 0.5}), 2},
		{NewMeasure([]float64{0, 1}, []float64{0.25, 0.75}), 0.25},
		{NewMeasure([]float64{0.5}, []float64{1}), 0.5},
		{NewMeasure([]float64{-10, 0, 1}, []float64{0.1, 0.4, 0.5}), 1},
	} {
		if got := W1(a, c.b); !(math.Abs(got-c.want) <= 1e-15) {
			t.Errorf("W1 to %+v: %v, want %v", c.b, got, c.want)
		}
		if got := W1(c.b, a); !(math.Abs(got-c.want) <= 1e-15) {
			t.Errorf("W1 from %+v: %v, want %v", c.b, got, c.want)
		}
	}
	// A shift by h is h; a scaling by s scales.
	rng := rand.New(rand.NewPCG(2, 2))
	x, y := make([]float64, 300), make([]float64, 300)
	for i := range x {
		x[i] = rng.NormFloat64()
		y[i] = x[i] + 0.125
	}
	if got := W1(Exact(x), Exact(y)); !(math.Abs(got-0.125) <= 1e-13) {
		t.Errorf("shift: %v", got)
	}
}

func TestSmoothIntegratesToOne(t *testing.T) {
	e := bulk(600)
	m := FromProbes(run(t, e, 4, 40, 3))
	for _, sigma := range []float64{1e-6, 1e-3, 0.01, 1, 100} {
		for _, points := range []int{0, 1, 500, 20_000} {
			c := mustSmooth(t, m, sigma*sigma, points)
			if got := c.Integral(); !(math.Abs(got-1) <= 1e-6) {
				t.Errorf("σ = %v, %d points: integral %v", sigma, points, got)
			}
			if !slices.IsSorted(c.Grid) || len(c.Grid) != len(c.Density) || len(slices.Compact(slices.Clone(c.Grid))) != len(c.Grid) {
				t.Errorf("σ = %v: grid", sigma)
			}
			if points > FewestPoints(m, c.Sigma2) && (len(c.Grid) < points || len(c.Grid) > points+2*len(m.Nodes)) {
				t.Errorf("σ = %v: %d points, asked for %d", sigma, len(c.Grid), points)
			}
			// Wherever there is density the step is at most σ/2.
			top := slices.Max(c.Density)
			for i := 1; i < len(c.Grid); i++ {
				if c.Grid[i]-c.Grid[i-1] > 0.5*sigma*(1+1e-9) {
					if mid := m.At((c.Grid[i]+c.Grid[i-1])/2, c.Sigma2); mid > 1e-12*top {
						t.Errorf("σ = %v: a step of %v σ over density %v", sigma, (c.Grid[i]-c.Grid[i-1])/sigma, mid)
					}
				}
			}
			if m.Min()-c.Grid[0] < 7.9*sigma || c.Grid[len(c.Grid)-1]-m.Max() < 7.9*sigma {
				t.Errorf("σ = %v: the edges cut", sigma)
			}
		}
	}
}

func TestSmoothIsTheMixture(t *testing.T) {
	m := NewMeasure([]float64{0, 1, 1.5}, []float64{0.5, 0.3, 0.2})
	const sigma2 = 0.04
	c := mustSmooth(t, m, sigma2, 0)
	for i, x := range c.Grid {
		want := 0.0
		for j, y := range m.Nodes {
			want += m.Weights[j] * math.Exp(-(x-y)*(x-y)/(2*sigma2)) / math.Sqrt(2*math.Pi*sigma2)
		}
		if !(math.Abs(c.Density[i]-want) <= 1e-13) {
			t.Errorf("φ(%v) = %v, want %v", x, c.Density[i], want)
		}
	}
}

func TestSmoothScales(t *testing.T) {
	m := FromProbes(run(t, bulk(300), 2, 30, 3))
	c := mustSmooth(t, m, 1e-4, 0)
	s := NewMeasure(m.Nodes, m.Weights)
	for i := range s.Nodes {
		s.Nodes[i] *= 0x1p27
	}
	d := mustSmooth(t, s, 1e-4*0x1p54, 0)
	if len(c.Grid) != len(d.Grid) {
		t.Fatalf("%d points, want %d", len(d.Grid), len(c.Grid))
	}
	for i := range c.Grid {
		if d.Grid[i] != c.Grid[i]*0x1p27 || d.Density[i] != c.Density[i]*0x1p-27 {
			t.Fatalf("point %d does not scale", i)
		}
	}
}

func TestSmoothTooFine(t *testing.T) {
	m := Exact([]float64{1, 2, 3})
	for _, sigma2 := range []float64{1e-300, 1e-31} {
		if _, err := Smooth(m, sigma2, 0); !errors.Is(err, ErrTooFine) {
			t.Errorf("sigma2 = %g: %v", sigma2, err)
		}
	}
	if _, err := Smooth(m, 1e-4, 1<<30); !errors.Is(err, ErrTooFine) {
		t.Errorf("points: %v", err)
	}
	for _, sigma2 := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		func() {
			defer func() {
				if recover() != badSigma2 {
					t.Errorf("sigma2 = %v is accepted", sigma2)
				}
			}()
			_, _ = Smooth(m, sigma2, 0)
		}()
	}
}

func TestL1(t *testing.T) {
	gauss := func(x float64) Measure { return Exact([]float64{x}) }
	for _, shift := range []float64{0, 0.1, 1, 3, 50} {
		got, err := L1(gauss(0), gauss(shift), 1)
		if err != nil {
			t.Fatal(err)
		}
		if want := 2 * math.Erf(shift/2/math.Sqrt2); !(math.Abs(got-want) <= 2e-3) {
			t.Errorf("shift %v: %v, want %v", shift, got, want)
		}
	}
}

func TestDegenerateWidths(t *testing.T) {
	repeat := func(values ...float64) []float64 { return slices.Repeat(values, 100) }
	lowRank := make([]float64, 300)
	copy(lowRank, []float64{5, -3, 2, 1})
	near := repeat(1)
	near[0] = 1 + 1e-15
	for _, c := range []struct {
		name  string
		e     []float64
		sigma float64
	}{
		{"identity", repeat(1), 0.005},
		{"minus three", repeat(-3), 0.015},
		{"one eigenvalue", []float64{2}, 0.01},
		{"rounding", near, 0.005},
		{"two", repeat(1, 3), 0.01},
		{"low rank", lowRank, 0.04},
		{"small scale", repeat(1e-9, 3e-9), 1e-11},
		{"zero", repeat(0), 0},
	} {
		for _, k := range []int{1, 3} {
			w := widthOf(run(t, c.e, k, 90, 0), len(c.e))
			if got := math.Sqrt(w.Sigma2); !(math.Abs(got-c.sigma) <= 1e-9*c.sigma) || !w.Degenerate {
				t.Errorf("%s: σ = %v (%+v), want %v", c.name, got, w, c.sigma)
			}
			warnings := Widths(w, w.Sigma2, false)
			want := Degenerate
			if c.sigma == 0 {
				want = ZeroOperator
			}
			if len(warnings) != 1 || warnings[0].Code != want {
				t.Errorf("%s: %+v", c.name, warnings)
			}
		}
	}
}

func TestWidthIsTheRests(t *testing.T) {
	e := bulk(1000)
	for _, k := range []int{1, 2, 10} {
		w := widthOf(run(t, e, k, 60, 0), len(e))
		// The bulk reaches ±0.17; outliers must not stretch it.
		if sigma := math.Sqrt(w.Sigma2); w.Degenerate || !(sigma < 0.5/30) || !(sigma > 0.2/60) {
			t.Errorf("k = %d: σ = %v, %+v", k, sigma, w)
		}
	}
	scaled := slices.Clone(e)
	for i := range scaled {
		scaled[i] *= 0x1p-27
	}
	a, b := widthOf(run(t, e, 2, 60, 0), len(e)), widthOf(run(t, scaled, 2, 60, 0), len(e))
	if b.Sigma2 != a.Sigma2*0x1p-54 {
		t.Error("the width does not scale")
	}
	// And that of the exact spectrum is that of its own quadrature.
	x, err := ExactWidth(context.Background(), e, 0, 1)
	if want := widthOf(run(t, e, 10, 90, 0), len(e)); err != nil || x != want {
		t.Errorf("exact: %+v, %v, want %+v", x, err, want)
	}
	if w, err := ExactWidth(context.Background(), []float64{1, 2, 3}, 0, 1); err != nil || !w.Degenerate {
		t.Errorf("exact, three: %+v, %v", w, err)
	}
}

func TestWarnings(t *testing.T) {
	m := NewMeasure([]float64{0, 1, 2, 3, 4}, []float64{0.6, 0.1, 0.1, 0.1, 0.1})
	c := mustSmooth(t, m, 0.01, 0)
	if w := Shape(m, c); len(w) != 1 || w[0].Code != SpikeUnresolved {
		t.Errorf("%+v", w)
	}
	even := make([]float64, 1000)
	for i := range even {
		even[i] = float64(i)
	}
	if w := Shape(Exact(even), mustSmooth(t, Exact(even), 100, 0)); w != nil {
		t.Errorf("%+v", w)
	}
	rows := []float64{5, 3, 2.9}
	if w := Close(rows, 0.01); len(w) != 1 || w[0].Code != EigenvaluesClose {
		t.Errorf("%+v", w)
	}
	if w := Close(rows, 0.0001); w != nil {
		t.Errorf("%+v", w)
	}
	if w := Widths(Width{Sigma2: 1, Rest: 50}, 0.48, true); len(w) != 1 || w[0].Code != Sigma2Narrow {
		t.Errorf("%+v", w)
	}
	if w := Widths(Width{Sigma2: 1, Rest: 50}, 0.5, true); w != nil {
		t.Errorf("%+v", w)
	}
	if w := Grids(m, mustSmooth(t, m, 0.01, 5), 5, false); len(w) != 1 || w[0].Code != PointsTooFew {
		t.Errorf("%+v", w)
	}
	if w := Grids(m, mustSmooth(t, m, 0.01, 1000), 1000, false); w != nil {
		t.Errorf("%+v", w)
	}
}

// Numbers of google/spectral-density's jax/density.py for the same nodes and weights.
func TestGhorbani(t *testing.T) {
	p := []Measure{
		NewMeasure([]float64{-0.1, 0, 0.5, 3}, []float64{0.1, 0.6, 0.2, 0.1}),
		NewMeasure([]float64{-0.2, 0.01, 0.6, 2.5}, []float64{0.2, 0.5, 0.2, 0.1}),
	}
	c := Ghorbani(p, 0, 0)
	if !(math.Abs(c.Sigma2-1e-5*2.92) <= 1e-18) || len(c.Grid) != 10_000 || !(math.Abs(c.Grid[0]+0.16) <= 1e-15) || !(math.Abs(c.Grid[9999]-2.76) <= 1e-15) {
		t.Errorf("σ² %v, %d points from %v to %v", c.Sigma2, len(c.Grid), c.Grid[0], c.Grid[9999])
	}
	sum := 0.0
	for _, y := range c.Density {
		sum += y
	}
	if got := sum * (c.Grid[1] - c.Grid[0]); !(math.Abs(got-1) <= 1e-12) {
		t.Errorf("sum × spacing = %v", got)
	}
	for _, g := range ghorbaniGolden {
		if got := c.Density[g.i]; !(math.Abs(got-g.want) <= 1e-9*g.want) {
			t.Errorf("density[%d] = %v, want %v", g.i, got, g.want)
		}
	}
	codes := []string{}
	for _, w := range Grids(Pool(p...), c, 0, true) {
		codes = append(codes, w.Code)
	}
	if !slices.Equal(codes, []string{PeaksCut}) {
		t.Errorf("warnings %v", codes)
	}
	// Below a range of 1 the width no longer follows the spectrum: that is the rule's own.
	if c := Ghorbani([]Measure{Exact([]float64{0, 0.1})}, 0, 0); c.Sigma2 != 1e-5 {
		t.Errorf("σ² %v", c.Sigma2)
	}
	if c := Ghorbani(p, 0.01, 77); c.Sigma2 != 0.01 || len(c.Grid) != 77 {
		t.Error("set variance and points")
	}
}
