package density

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sbinet/npyio"

	"hessdens/internal/lanczos"
)

// The promises of an estimate, held against spectra that are known. With v uniform on the sphere the quadrature of H
// has the law of the quadrature of diag(eigenvalues of H), so no network is needed here; cmd/hessdens has the same on
// networks. make calibrate runs what HESSDENS_LONG asks for: 200 and 2,000 seeds, and the spectra of the folder that
// HESSDENS_REFERENCE names.

func long() bool { return os.Getenv("HESSDENS_LONG") != "" }

// calibration is a spectrum for Lanczos: eigenvalues that are numerically zero are one entry, in which a start has
// the length of as many normal numbers.
type calibration struct {
	name  string
	exact []float64 // all, ascending
	op    lanczos.Diagonal
	zeros int
}

func newCalibration(name string, e []float64) calibration {
	c := calibration{name: name, exact: slices.Sorted(slices.Values(e))}
	size := max(-c.exact[0], c.exact[len(e)-1])
	for _, x := range c.exact {
		if math.Abs(x) < 1e-11*size {
			c.zeros++
		} else {
			c.op = append(c.op, x)
		}
	}
	if c.zeros > 0 {
		c.op = append(c.op, 0)
	}
	return c
}

func (c *calibration) n() int { return len(c.exact) }

func (c *calibration) options(k, m int, seed uint64) lanczos.Options {
	return lanczos.Options{Probes: k, Steps: m, Seed: seed, Start: func(v []float64, p int) {
		all := make([]float64, c.n())
		lanczos.Gaussian(all, seed, p)
		copy(v, all)
		if c.zeros > 0 {
			sum := 0.0
			for _, x := range all[len(v)-1:] {
				sum += x * x
			}
			v[len(v)-1] = math.Sqrt(sum)
		}
	}}
}

func (c *calibration) run(t testing.TB, k, m int, seed uint64) []lanczos.Probe {
	t.Helper()
	probes, err := lanczos.Run(context.Background(), c.op, c.options(k, m, seed))
	if err != nil {
		t.Fatal(err)
	}
	return probes
}

// spectra returns those of the repository, and of the reference folder those that are there.
func spectra(t testing.TB, names ...string) []calibration {
	t.Helper()
	var out []calibration
	for _, name := range names {
		var e []float64
		if name == "mp-spikes" {
			f, err := os.Open(filepath.Join("testdata", "mp-spikes.npy"))
			if err != nil {
				t.Fatal(err)
			}
			if err := npyio.Read(f, &e); err != nil {
				t.Fatal(err)
			}
			f.Close()
		} else if e = eigenvaluesOf(t, name); e == nil {
			t.Logf("%s: HESSDENS_REFERENCE names no folder that has it", name)
			continue
		}
		out = append(out, newCalibration(name, e))
	}
	return out
}

// tally counts over seeds.
type tally struct {
	covered, points       float64 // of bands, where the estimated part is at least 1 %
	below, belowPoints    float64 // of the distribution function's, where 0.1 to 99.9 % of the rest lie below
	trace, frobenius      float64 // seeds whose interval covers
	masses, abs, energy   float64
	seeds                 float64
	width                 float64 // mean of (upper − lower)/density
	known                 float64 // eigenvalues
	beyond                float64 // the largest distance of one to the spectrum, less its bound, over ‖H‖
	l1, l1Plain           float64 // at eigenvalues beyond everything else
	traceErr, plainErr    float64 // sums of squares, relative
	w1, w1Plain, foretold float64 // sums, relative to mean |λ|
	worst                 float64 // the largest w1/foretold
}

func (c *calibration) tally(t testing.TB, k, m, seeds int) tally {
	t.Helper()
	var a tally
	truth := NewExact(c.exact, 0, Width{})
	whole := truth.Measure()
	size := max(-whole.Min(), whole.Max())
	for seed := range uint64(seeds) {
		probes := c.run(t, k, m, seed+100)
		e := estimateOf(probes, c.n())
		plain := FromProbes(probes)
		sigma := math.Sqrt(e.Width().Sigma2)
		a.seeds++

		want := truth.Numbers(sigma, 0.95)
		got := e.Numbers(sigma, 0.95)
		for _, x := range []struct {
			count     *float64
			got, want Number
		}{
			{&a.trace, got.Trace, want.Trace}, {&a.frobenius, got.FrobeniusSq, want.FrobeniusSq}, {&a.abs, got.MeanAbs, want.MeanAbs},
			{&a.energy, got.NegativeEnergyL1, want.NegativeEnergyL1}, {&a.masses, got.MassZero, want.MassZero},
		} {
			if slack := 1e-9 * math.Abs(x.want.Value); x.got.Lower-slack <= x.want.Value && x.want.Value <= x.got.Upper+slack {
				*x.count++
			}
		}
		a.traceErr += math.Pow(got.Trace.Value/want.Trace.Value-1, 2)
		mean := 0.0
		for i, x := range plain.Nodes {
			mean += plain.Weights[i] * x
		}
		a.plainErr += math.Pow(mean/want.Mean.Value-1, 2)

		a.w1 += W1(e.Measure(), whole) / want.MeanAbs.Value
		a.w1Plain += W1(plain, whole) / want.MeanAbs.Value
		s, q := e.Foretell()
		a.foretold += (s + q) / want.MeanAbs.Value
		a.worst = max(a.worst, W1(e.Measure(), whole)/(s+q))

		var outer []float64
		for _, v := range e.known {
			i, _ := slices.BinarySearch(c.exact, v.Value)
			near := math.Inf(1)
			for _, x := range c.exact[max(0, i-1):min(len(c.exact), i+1)] {
				near = min(near, math.Abs(x-v.Value))
			}
			a.beyond = max(a.beyond, (near-v.Bound)/size)
			if len(e.rest) > 0 && (v.Value > e.rest[0].Max()+6*sigma || v.Value < e.rest[0].Min()-6*sigma) {
				for z := -3.0; z <= 3; z += 0.5 {
					outer = append(outer, v.Value+z*sigma)
				}
			}
		}
		a.known += float64(len(e.known))
		slices.Sort(outer)
		exact, _ := evaluate(whole, sigma, outer)
		there, off, offPlain := 0.0, 0.0, 0.0
		near, _ := evaluate(e.Measure(), sigma, outer)
		nearPlain, _ := evaluate(plain, sigma, outer)
		for i, y := range exact {
			there += y
			off += math.Abs(near[i] - y)
			offPlain += math.Abs(nearPlain[i] - y)
		}
		if there > 0 {
			a.l1 += off / there
			a.l1Plain += offPlain / there
		}

		grid := gridAround(c.exact, sigma)
		band := e.on(grid, sigma*sigma, 0.95)
		exact, _ = evaluate(whole, sigma, grid)
		known, _, _, _ := e.knownPart(grid, sigma)
		top := slices.Max(exact)
		width, points := 0.0, 0.0
		for i, y := range exact {
			if y > 1e-3*top && y-known[i] > 0.01*y {
				points++
				width += (band.Upper[i] - band.Lower[i]) / y
				if band.Lower[i] <= y && y <= band.Upper[i] {
					a.covered++
				}
			}
		}
		rest := e.share()
		mass, _ := cumulate(whole, sigma, grid)
		_, knownBelow, _, _ := e.knownPart(grid, sigma)
		for i, y := range mass {
			if part := (y - knownBelow[i]) / rest; part > 1e-3 && part < 1-1e-3 {
				a.belowPoints++
				if band.DistributionLower[i] <= y && y <= band.DistributionUpper[i] {
					a.below++
				}
			}
		}
		a.points += points
		a.width += width / points
	}
	return a
}

// gridAround has points σ/2 apart within 8σ of each value, thinned evenly to about 1,200.
func gridAround(values []float64, sigma float64) []float64 {
	var at []int
	last := math.MinInt
	for _, x := range values {
		centre := int(math.Round(2 * x / sigma))
		for i := max(last+1, centre-16); i <= centre+16; i++ {
			at = append(at, i)
			last = i
		}
	}
	step := len(at)/1200 + 1
	var grid []float64
	for i := 0; i < len(at); i += step {
		grid = append(grid, float64(at[i])*sigma/2)
	}
	return grid
}

func (a *tally) log(t testing.TB, c *calibration, k, m int) {
	s := a.seeds
	t.Logf("%s, k = %d, m = %d, %.0f seeds: band %.3f (width %.2f), distribution %.3f, trace %.3f, ‖H‖² %.3f, E|λ| %.3f, mass within ±σ %.3f, negative energy %.3f;\n"+
		"%.1f known, beyond bound %.1e ‖H‖, L1 at outliers %.2e (plain %.2f), trace error %.4f (plain %.4f), W1 %.4f (plain %.4f, foretold %.4f, worst share %.2f)",
		c.name, k, m, s, a.covered/a.points, a.width/s, a.below/a.belowPoints, a.trace/s, a.frobenius/s, a.abs/s, a.masses/s, a.energy/s,
		a.known/s, a.beyond, a.l1/s, a.l1Plain/s, math.Sqrt(a.traceErr/s), math.Sqrt(a.plainErr/s), a.w1/s, a.w1Plain/s, a.foretold/s, a.worst)
}

// Bands and intervals cover as often as they say, exact eigenvalues are exact, and the error is a fraction of the plain
// method's: 10 × 90 is 900 products.
func TestCalibration(t *testing.T) {
	type limits struct{ k10, k1, most, traceLow, traceHigh, once float64 }
	seeds, names, limit := 6, []string{"smallcnn-nobn", "mp-spikes"}, limits{0.86, 0.86, 1, 0.5, 1, 3}
	if long() {
		seeds, names = 200, []string{"smallcnn-nobn", "mp-spikes", "mlp-mnist-exact", "smallcnn-bn-eval-512"}
		limit = limits{0.93, 0.92, 0.97, 0.91, 0.985, 3}
	}
	product, networks := 1.0, 0.0
	for _, c := range spectra(t, names...) {
		network := c.name != "mp-spikes"
		for _, k := range []int{10, 1} {
			a := c.tally(t, k, 90, seeds)
			a.log(t, &c, k, 90)
			least := limit.k10
			if k == 1 {
				least = limit.k1
			}
			if band := a.covered / a.points; !(band >= least) || !(band <= limit.most) {
				t.Errorf("%s, k = %d: the band covers %.3f", c.name, k, band)
			}
			if cover := a.below / a.belowPoints; !(cover >= least) {
				t.Errorf("%s, k = %d: the distribution function's band covers %.3f", c.name, k, cover)
			}
			if cover := a.trace / a.seeds; !(cover >= limit.traceLow) || !(cover <= limit.traceHigh) {
				t.Errorf("%s, k = %d: the trace's interval covers %.3f", c.name, k, cover)
			}
			if !(a.beyond <= 1e-12) {
				t.Errorf("%s, k = %d: an eigenvalue is %.1e ‖H‖ beyond its bound", c.name, k, a.beyond)
			}
			// Functions with a kink or a step: what the last steps disagree about is in the interval.
			for name, x := range map[string]float64{"mean |λ|": a.abs, "mass within ±σ": a.masses, "negative energy": a.energy} {
				if !(x/a.seeds >= limit.traceLow) {
					t.Errorf("%s, k = %d: the interval of the %s covers %.3f", c.name, k, name, x/a.seeds)
				}
			}
			if k == 1 {
				continue
			}
			if !(a.l1/a.seeds <= 1e-4) {
				t.Errorf("%s: L1 %.1e at the outliers", c.name, a.l1/a.seeds)
			}
			if gain := a.w1Plain / a.w1; network {
				product, networks = product*gain, networks+1
				if !(gain >= limit.once) {
					t.Errorf("%s: W1 is %.1f times smaller than the plain method's", c.name, gain)
				}
				if fall := math.Sqrt(a.plainErr / a.traceErr); !(fall >= 5) {
					t.Errorf("%s: the trace's error falls %.1f times", c.name, fall)
				}
			}
		}
	}
	if gain := math.Pow(product, 1/networks); !(gain >= 5) {
		t.Errorf("W1 is %.1f times smaller than the plain method's (geometric mean)", gain)
	}
}

// The trace's interval, over more seeds.
func TestTraceCalibration(t *testing.T) {
	if !long() {
		t.Skip("takes minutes (set HESSDENS_LONG=1)")
	}
	const seeds = 2000
	for _, c := range spectra(t, "smallcnn-nobn", "mp-spikes", "mlp-mnist-exact") {
		for _, k := range []int{1, 3} {
			want, covered := NewExact(c.exact, 0, Width{}).Numbers(0, 0.95).Trace.Value, 0.0
			for seed := range uint64(seeds) {
				if got := estimateOf(c.run(t, k, 40, seed+1000), c.n()).Numbers(0, 0.95).Trace; got.Lower <= want && want <= got.Upper {
					covered++
				}
			}
			t.Logf("%s, k = %d: %.4f", c.name, k, covered/seeds)
			if !(covered/seeds >= 0.93) || !(covered/seeds <= 0.97) {
				t.Errorf("%s, k = %d: the interval covers %.4f", c.name, k, covered/seeds)
			}
		}
	}
}

// A run that ends by its tolerance is within it.
func TestTolerance(t *testing.T) {
	seeds, names, tolerances := 2, []string{"smallcnn-nobn"}, []float64{0.1}
	if long() {
		seeds, names, tolerances = 20, []string{"smallcnn-nobn", "mlp-mnist-exact", "smallcnn-bn-eval-512"}, []float64{0.1, 0.05, 0.025}
	}
	for _, c := range spectra(t, names...) {
		whole := Exact(c.exact)
		mean := NewExact(c.exact, 0, Width{}).Numbers(0, 0.95).MeanAbs.Value
		for _, tolerance := range tolerances {
			held, products, largest := 0, 0, 0.0
			for seed := range uint64(seeds) {
				probes, stop, err := Grow(context.Background(), lanczos.Diagonal(c.exact), lanczos.Options{Seed: seed, ProductError: lanczos.ProductError64},
					Goal{Probes: FirstProbes, Steps: FirstSteps, MoreProbes: true, MoreSteps: true, Tolerance: tolerance, Confidence: 0.95, MaxProducts: 4000, Memory: 1 << 30})
				if err != nil || stop != Reached {
					t.Fatalf("%s: %v, %v", c.name, stop, err)
				}
				for _, p := range probes {
					products += len(p.Nodes)
				}
				w1 := W1(estimateOf(probes, c.n()).Measure(), whole) / mean
				largest = max(largest, w1)
				if w1 <= tolerance {
					held++
				}
			}
			t.Logf("%s, tolerance %v: held %d of %d, largest W1 %.4f, %d products", c.name, tolerance, held, seeds, largest, products/seeds)
			if least := seeds; tolerance < 0.05 && held < least-2 || tolerance >= 0.05 && held < least {
				t.Errorf("%s: the tolerance %v held for %d of %d", c.name, tolerance, held, seeds)
			}
		}
	}
}
