package density

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/mathext"
)

// Both ends hold what defines them, between the points of the table too.
func TestGammaInterval(t *testing.T) {
	for _, level := range []float64{0.5, 0.95, 0.999} {
		law := lawOf(level)
		for u := tableFrom; u < tableTo; u += 0.73 {
			x := math.Exp(u)
			lower, upper := law.interval(x, x) // θ = 1
			tail := (1 - level) / 2
			if p := mathext.GammaIncRegComp(lower, x); lower < x && !(math.Abs(p-tail) <= 2e-4*tail) {
				t.Errorf("level %v, x = e^%.2f: P(Gamma(%v) ≥ x) = %v, want %v", level, u, lower, p, tail)
			}
			if p := mathext.GammaIncReg(upper, x); !(math.Abs(p-tail) <= 2e-4*tail) {
				t.Errorf("level %v, x = e^%.2f: P(Gamma(%v) ≤ x) = %v, want %v", level, u, upper, p, tail)
			}
			if !(lower <= x) || !(upper >= x) || x > 1 && lower == x {
				t.Errorf("level %v, x = e^%.2f: [%v, %v]", level, u, lower, upper)
			}
			// It scales.
			if l, h := law.interval(0x1p20*x, 0x1p40*x); !(math.Abs(l-0x1p20*lower) <= 1e-9*l) || !(math.Abs(h-0x1p20*upper) <= 1e-9*h) {
				t.Errorf("x = e^%.2f does not scale", u)
			}
		}
		// Where the table ends, the normal law goes on.
		x := math.Exp(tableTo)
		for _, y := range []float64{x * (1 - 1e-9), x * (1 + 1e-9)} {
			lower, upper := law.interval(y, y)
			d := NormalQuantile(level) * math.Sqrt(y)
			if !(math.Abs(upper-y-d) <= 1e-3*d) || !(math.Abs(y-lower-d) <= 1e-3*d) {
				t.Errorf("level %v: [%v, %v] around %v, want ± %v", level, lower, upper, y, d)
			}
		}
	}
	law := lawOf(0.95)
	if lower, upper := law.interval(3, 0); lower != 3 || upper != 3 {
		t.Error("no variance, but a width")
	}
	if lower, upper := law.interval(0, 0); lower != 0 || upper != 0 {
		t.Error("nothing, but a width")
	}
	if lower, upper := law.interval(1e-30, 1); !(lower >= 0) || !(upper > lower) {
		t.Errorf("far below the table: [%v, %v]", lower, upper)
	}
}

func TestQuantiles(t *testing.T) {
	for _, c := range []struct{ nu, level, want float64 }{
		{1, 0.95, 12.7062047361747}, {2, 0.95, 4.30265272974946}, {10, 0.95, 2.22813885198627}, {10, 0.5, 0.699812061312432},
		{100, 0.99, 2.62589052141427}, {2.5, 0.95, 3.57465484200368}, {1e9, 0.95, 1.95996398454005}, {math.Inf(1), 0.95, 1.95996398454005},
	} {
		if got := studentQuantile(c.nu, c.level); !(math.Abs(got-c.want) <= 1e-6*c.want) {
			t.Errorf("ν = %v, level %v: %.15g, want %v", c.nu, c.level, got, c.want)
		}
	}
}
