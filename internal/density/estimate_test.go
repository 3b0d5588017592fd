package density

import (
	"context"
	"math"
	"slices"
	"testing"

	"hessdens/internal/lanczos"
)

// The measure has mass 1, the known part weighs 1/n each, and the numbers are the measure's.
func TestEstimateIsItsMeasure(t *testing.T) {
	e := bulk(600)
	for _, c := range [][2]int{{1, 1}, {1, 3}, {2, 9}, {3, 40}, {2, 600}} {
		probes := run(t, e, c[0], c[1], 3)
		est := estimateOf(probes, 600)
		m, s := est.Measure(), est.Numbers(0.01, 0.95)
		mass, mean, abs := 0.0, 0.0, 0.0
		for i, x := range m.Nodes {
			mass += m.Weights[i]
			mean += m.Weights[i] * x
			abs += m.Weights[i] * math.Abs(x)
		}
		if !(math.Abs(mass-1) <= 1e-12) || !(math.Abs(mean-s.Mean.Value) <= 1e-12) || !(math.Abs(abs-s.MeanAbs.Value) <= 1e-12) {
			t.Errorf("%v: mass %v, mean %v (%v), mean |λ| %v (%v)", c, mass, mean, s.Mean.Value, abs, s.MeanAbs.Value)
		}
		if masses := s.MassNegative.Value + s.MassZero.Value + s.MassPositive.Value; !(math.Abs(masses-1) <= 1e-12) {
			t.Errorf("%v: masses sum to %v", c, masses)
		}
		for _, v := range est.Known() {
			if i := slices.Index(m.Nodes, v.Value); i < 0 || m.Weights[i] != 1./600 {
				t.Errorf("%v: %v has no weight of 1/n", c, v)
			}
		}
		curve, err := est.Curve(1e-4, 0, 0.95)
		if err != nil {
			t.Fatal(err)
		}
		if got := curve.Integral(); !(math.Abs(got-1) <= 1e-6) {
			t.Errorf("%v: the density's integral is %v", c, got)
		}
		for i, y := range curve.Density {
			if want := m.At(curve.Grid[i], 1e-4); !(math.Abs(y-want) <= 1e-12*(1+want)) || !(curve.Lower[i] >= 0) || !(curve.Lower[i] <= y) || !(curve.Upper[i] >= y) {
				t.Fatalf("%v: φ(%v) = %v in [%v, %v], the measure's is %v", c, curve.Grid[i], y, curve.Lower[i], curve.Upper[i], want)
			}
		}
	}
}

// Scaled by a power of two everything scales exactly.
func TestEstimateScales(t *testing.T) {
	e := bulk(300)
	scaled := slices.Clone(e)
	for i := range scaled {
		scaled[i] *= 0x1p-40
	}
	a, b := estimateOf(run(t, e, 2, 40, 1), 300), estimateOf(run(t, scaled, 2, 40, 1), 300)
	x, y := a.Numbers(0.125, 0.9), b.Numbers(0.125*0x1p-40, 0.9)
	if y.Trace != x.Trace.times(0x1p-40) || y.FrobeniusSq.Value != x.FrobeniusSq.Value*0x1p-80 || y.NegativeEnergyL1 != x.NegativeEnergyL1 || y.MassZero != x.MassZero {
		t.Errorf("%+v\n%+v", x, y)
	}
	s, q := a.Foretell()
	if s2, q2 := b.Foretell(); s2 != s*0x1p-40 || q2 != q*0x1p-40 {
		t.Errorf("foretold %v, %v and %v, %v", s, q, s2, q2)
	}
}

// The law of a share by the formula is that of the share over seeds.
func TestShareStderr(t *testing.T) {
	const seeds = 40
	c := newCalibration("bulk", bulk(500))
	want := NewExact(c.exact, 0, Width{}).Numbers(0, 0.95).NegativeEnergyL1.Value
	var scatter, said float64
	for seed := range uint64(seeds) {
		x := estimateOf(c.run(t, 2, 60, seed), c.n()).Numbers(0, 0.95).NegativeEnergyL1
		scatter += (x.Value - want) * (x.Value - want) / seeds
		said += x.Stderr * x.Stderr / seeds
	}
	if r := scatter / said; !(r > 0.4) || !(r < 1.6) {
		t.Errorf("variance over seeds %v, said to be %v", scatter, said)
	}
}

func TestGrow(t *testing.T) {
	e := bulk(400)
	op := lanczos.Diagonal(e)
	grow := func(g Goal, groups ...int) ([]lanczos.Probe, Stop) {
		t.Helper()
		if g.Memory == 0 {
			g.Memory = 1 << 30
		}
		probes, stop, err := Grow(context.Background(), op, lanczos.Options{ProductError: lanczos.ProductError64, Groups: groups}, g)
		if err != nil {
			t.Fatal(err)
		}
		return probes, stop
	}
	count := func(probes []lanczos.Probe) (products int) {
		for _, p := range probes {
			products += len(p.Nodes)
		}
		return products
	}

	probes, stop := grow(Goal{Probes: 3, Steps: 8, Top: 4, Bottom: 1, MaxProducts: 1000})
	top, bottom := estimateOf(probes, 400).Ends()
	if stop != Found || top < 4 || bottom < 1 || count(probes) >= 1000 {
		t.Errorf("%v with %d and %d known, %d products", stop, top, bottom, count(probes))
	}
	// The same bits as a run of that size.
	steps := len(probes[0].Nodes)
	if want := run(t, e, 3, steps, 0); !slices.Equal(probes[2].Nodes, want[2].Nodes) || !slices.Equal(probes[2].Weights, want[2].Weights) {
		t.Error("other nodes than those of a run of that size")
	}
	g := Goal{Probes: 2, Steps: 30, Tolerance: 1e-6, Confidence: 0.95, MoreProbes: true, MoreSteps: true, MaxProducts: 143}
	probes, stop = grow(g)
	if stop != OutOf || count(probes) > 143 || count(probes) < 130 {
		t.Errorf("%v after %d products", stop, count(probes))
	}
	if w := Short(estimateOf(probes, 400), g, stop); len(w) != 1 || w[0].Code != ToleranceMissed {
		t.Errorf("%+v", w)
	}
	if probes, stop = grow(Goal{Probes: 2, Steps: 30, Tolerance: 0.05, Confidence: 0.95, MoreSteps: true, MaxProducts: 9999}); len(probes) != 2 || stop != Reached && stop != Balanced {
		t.Errorf("%v with %d probes", stop, len(probes))
	}
	if probes, stop = grow(Goal{Probes: 2, Steps: 40, Tolerance: 0.1, Confidence: 0.95, MoreProbes: true, MaxProducts: 9999}); len(probes[0].Nodes) != 40 || stop != Reached {
		t.Errorf("%v with %d steps", stop, len(probes[0].Nodes))
	}
	if _, stop = grow(Goal{Probes: 5, Steps: 30, MoreSteps: true, MaxProducts: 9999}); stop != Balanced {
		t.Errorf("%v", stop)
	}
	// Memory for one probe of two: groups, and an end.
	if probes, stop = grow(Goal{Probes: 2, Steps: 10, Top: 3, MaxProducts: 9999}, 1, 1); stop != OutOfMemory || len(probes) != 2 {
		t.Errorf("%v", stop)
	}
	if _, stop = grow(Goal{Probes: 2, Steps: 10, Top: 30, MaxProducts: 9999, Memory: lanczos.ProcessBytes(400, 10, 2, lanczos.Double)}); stop != OutOfMemory {
		t.Errorf("%v", stop)
	}
	// A spectrum that cannot be counted: 4 values of many eigenvalues.
	op = lanczos.Diagonal(slices.Repeat([]float64{1, 2, 3, 4}, 100))
	g = Goal{Probes: 2, Steps: 10, Top: 3, MaxProducts: 9999}
	probes, stop = grow(g)
	if w := Short(estimateOf(probes, 400), g, stop); stop != Exhausted || len(w) != 1 || w[0].Code != EigenvaluesMissing {
		t.Errorf("%v, %+v", stop, w)
	}

	// Products that cannot tell the next ones apart: more steps would not.
	close := []float64{9, 7, 7.0001, 7.0002}
	op = lanczos.Diagonal(append(close, bulk(400)...))
	probes, stop, err := Grow(context.Background(), op, lanczos.Options{ProductError: 1e-6}, Goal{Probes: 3, Steps: 10, Top: 8, MaxProducts: 9999, Memory: 1 << 30})
	if err != nil || stop != Exhausted || count(probes) > 600 {
		t.Errorf("%v, %v after %d products", err, stop, count(probes))
	}
}

// The distribution function is the integral of the density, from 0 to 1, and its band holds it.
func TestDistribution(t *testing.T) {
	exact := append([]float64{9, 7, -2}, bulk(400)...)
	for name, e := range map[string]*Estimate{"estimate": estimateOf(run(t, exact, 4, 40, 1), len(exact)), "exact": NewExact(exact, 1e-14, Width{})} {
		c, err := e.Curve(0.01, 0, 0.95)
		if err != nil {
			t.Fatal(err)
		}
		sum, last := 0.0, len(c.Grid)-1
		for i, y := range c.Distribution {
			if i > 0 {
				sum += (c.Grid[i] - c.Grid[i-1]) * (c.Density[i] + c.Density[i-1]) / 2
			}
			if !(math.Abs(y-sum) <= 5e-3) || !(c.DistributionLower[i] <= y && y <= c.DistributionUpper[i]) {
				t.Fatalf("%s: %v below %v, the density's integral %v, band %v to %v", name, y, c.Grid[i], sum, c.DistributionLower[i], c.DistributionUpper[i])
			}
		}
		if !(c.Distribution[last] >= 1-1e-12) || !(c.DistributionLower[last] >= 1-1e-8) {
			t.Errorf("%s: %v in the end, at least %v", name, c.Distribution[last], c.DistributionLower[last])
		}
		if name == "exact" && !(c.DistributionUpper[last/2]-c.DistributionLower[last/2] <= 1e-8) {
			t.Errorf("a band of %v around what is exact", c.DistributionUpper[last/2]-c.DistributionLower[last/2])
		}
	}
}
