package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
)

// XScale says how a picture lays out λ.
type XScale string

const (
	// Auto is Linear, but SymLog where the bulk would be a hair's breadth: where 98 % of the
	// mass lie within 1/50 of the range.
	Auto XScale = ""

	// Linear is the paper's axis.
	Linear XScale = "linear"

	// SymLog is sign(λ) log10(1 + |λ|/c): linear around zero, logarithmic far from it. c is
	// Options.LinearWidth. The density remains the one per unit of λ.
	SymLog XScale = "symlog"
)

const bulkShare = 1.0 / 50

// margin is the room left and right of all that there is to see, as a share of the axis.
const margin = 0.015

// scale maps λ to a position, x = 0 … 1 between lo and hi; c = 0 means linear.
type scale struct{ lo, hi, c float64 }

func newScale(curves []Curve, o *Options) (scale, error) {
	lo, hi := domain(curves)
	all := o.From == 0 && o.To == 0
	if !all {
		if !(o.From < o.To) || !finite(o.From) || !finite(o.To) {
			return scale{}, fmt.Errorf("the range from %v to %v of λ is empty (the first must be below the second)", o.From, o.To)
		}
		lo, hi = o.From, o.To
	}
	s := scale{lo: lo, hi: hi}
	kind := o.X
	if kind == Auto {
		kind = Linear
		widest := 0.0
		for i := range curves {
			widest = math.Max(widest, bulkWidth(&curves[i]))
		}
		if widest > 0 && widest < bulkShare*(hi-lo) {
			kind = SymLog
		}
	}
	switch kind {
	case Linear:
	case SymLog:
		s.c = o.LinearWidth
		if !(s.c > 0) {
			s.c = linearWidth(curves, math.Max(math.Abs(lo), math.Abs(hi)))
		}
	default:
		return scale{}, fmt.Errorf("axis %q is not known (one of linear, symlog)", kind)
	}
	if all {
		s.lo, s.hi = s.inverse(-margin), s.inverse(1+margin)
	}
	return s, nil
}

// linearWidth is the smallest σ, the width of the finest thing that a density can show, kept within
// 1e-6 and 0.1 of the largest |λ|; 1e-3 of it where no σ is known.
func linearWidth(curves []Curve, largest float64) float64 {
	c := math.Inf(1)
	for _, v := range curves {
		if v.Sigma2 > 0 {
			c = math.Min(c, math.Sqrt(v.Sigma2))
		}
	}
	if math.IsInf(c, 1) {
		c = 1e-3 * largest
	}
	return math.Min(math.Max(c, 1e-6*largest), 0.1*largest)
}

func (s scale) warp(x float64) float64 {
	if s.c == 0 {
		return x
	}
	return math.Copysign(math.Log10(1+math.Abs(x)/s.c), x)
}

func (s scale) unwarp(t float64) float64 {
	if s.c == 0 {
		return t
	}
	return math.Copysign(s.c*(math.Pow(10, math.Abs(t))-1), t)
}

// at is the position of x, 0 at lo and 1 at hi.
func (s scale) at(x float64) float64 { return s.Normalize(s.lo, s.hi, x) }

// inverse is the λ at a position.
func (s scale) inverse(p float64) float64 {
	a, b := s.warp(s.lo), s.warp(s.hi)
	return s.unwarp(a + p*(b-a))
}

// Normalize implements plot.Normalizer.
func (s scale) Normalize(lo, hi, x float64) float64 {
	a, b := s.warp(lo), s.warp(hi)
	return (s.warp(x) - a) / (b - a)
}

// ticks are marks at round values of λ, the labelled ones at least gap apart (a share of the
// axis); label writes their text.
func (s scale) ticks(gap float64, label func(float64) string) []plot.Tick {
	if s.c == 0 {
		return s.linearTicks(gap, label)
	}
	return s.symlogTicks(gap, label)
}

func (s scale) linearTicks(gap float64, label func(float64) string) []plot.Tick {
	step, minor := roundStep((s.hi - s.lo) * gap)
	var out []plot.Tick
	for i := math.Ceil(s.lo/minor - 1e-9); i*minor <= s.hi+1e-9*step; i++ {
		t := plot.Tick{Value: i * minor}
		if per := math.Round(step / minor); math.Mod(math.Abs(i), per) == 0 {
			t.Value = i / per * step
			t.Label = label(tidy(t.Value, step))
		}
		out = append(out, t)
	}
	return out
}

// roundStep is the smallest of 1, 2, 5 times a power of ten that is at least least, and the step
// of the unlabelled marks between.
func roundStep(least float64) (step, minor float64) {
	e := math.Pow(10, math.Floor(math.Log10(least)))
	for _, m := range []struct{ step, minor float64 }{{1, 0.2}, {2, 0.5}, {5, 1}} {
		if m.step*e >= least*(1-1e-9) {
			return m.step * e, m.minor * e
		}
	}
	return 10 * e, 2 * e
}

// tidy takes the rounding errors of a multiple of step away.
func tidy(v, step float64) float64 {
	digits := int(math.Max(0, 1-math.Floor(math.Log10(step))))
	t, err := strconv.ParseFloat(strconv.FormatFloat(v, 'f', digits, 64), 64)
	if err != nil || t == 0 {
		return 0
	}
	return t
}

func (s scale) symlogTicks(gap float64, label func(float64) string) []plot.Tick {
	first := math.Floor(math.Log10(s.c))
	last := math.Floor(math.Log10(math.Max(math.Abs(s.lo), math.Abs(s.hi))))
	multiples := []float64{1}
	if last-first < 3 {
		multiples = []float64{1, 2, 5}
	}
	var out []plot.Tick
	var labelled []float64
	try := func(v float64) {
		p := s.at(v)
		if p < -1e-9 || p > 1+1e-9 {
			return
		}
		for _, q := range labelled {
			if math.Abs(p-q) < gap {
				return
			}
		}
		labelled = append(labelled, p)
		out = append(out, plot.Tick{Value: v, Label: label(round3(v))}) // a power of ten may be off by its last bit
	}
	try(0)
	for e := last; e >= first; e-- {
		for _, m := range multiples {
			v := m * math.Pow(10, e)
			try(v)
			try(-v)
		}
	}
	decade := s.warp(s.c*1e5) - s.warp(s.c*1e4)
	if decade/(s.warp(s.hi)-s.warp(s.lo)) > 0.04 {
		for e := first; e <= last; e++ {
			for m := 1.0; m < 10; m++ {
				for _, v := range []float64{m * math.Pow(10, e), -m * math.Pow(10, e)} {
					if v >= s.lo && v <= s.hi && math.Abs(v) >= s.c {
						out = append(out, plot.Tick{Value: v})
					}
				}
			}
		}
	}
	if len(labelled) == 0 {
		for _, p := range []float64{0, 0.5, 1} {
			v := s.inverse(p)
			out = append(out, plot.Tick{Value: v, Label: label(round3(v))})
		}
	}
	return out
}

func round3(v float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	if err != nil {
		return v
	}
	return r
}

// decadeTicks marks the powers of ten of an axis of log10 φ, about `wanted` of them labelled.
func decadeTicks(lo, hi float64, wanted int, label func(exponent int) string) []plot.Tick {
	step := int(math.Max(1, math.Ceil((hi-lo)/float64(wanted))))
	var out []plot.Tick
	for e := int(math.Ceil(lo)); float64(e) <= hi; e++ {
		t := plot.Tick{Value: float64(e)}
		if e%step == 0 {
			t.Label = label(e)
		}
		out = append(out, t)
	}
	return out
}

// mathNumber writes a number with a true minus sign, and very large and small ones with a power of ten,
// the exponent in the markup of superscript.
func mathNumber(v float64) string {
	if v == 0 {
		return "0"
	}
	if a := math.Abs(v); a >= 1e-3 && a < 1e5 {
		return strings.Replace(strconv.FormatFloat(v, 'f', -1, 64), "-", "−", 1)
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', -1, 64), "e")
	e, err := strconv.Atoi(exponent)
	if err != nil {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign, mantissa = "−", mantissa[1:]
	}
	if mantissa == "1" {
		return sign + powerOfTen(e)
	}
	return sign + mantissa + "·" + powerOfTen(e)
}

func powerOfTen(e int) string {
	switch e {
	case 0:
		return "1"
	case 1:
		return "10"
	}
	return "10^{" + strings.Replace(strconv.Itoa(e), "-", "−", 1) + "}"
}

// plainNumber writes a number in a few ASCII characters.
func plainNumber(v float64) string {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if a := math.Abs(v); a != 0 && (a < 1e-3 || a >= 1e5) {
		s = strconv.FormatFloat(v, 'e', -1, 64)
	}
	return shortExponent(s)
}

// shortExponent takes the leading zero and plus sign out of an exponent: 1e-05 is 1e-5.
func shortExponent(s string) string {
	mantissa, exponent, found := strings.Cut(s, "e")
	if !found {
		return s
	}
	e, err := strconv.Atoi(exponent)
	if err != nil {
		return s
	}
	return mantissa + "e" + strconv.Itoa(e)
}

// staticTicks implements plot.Ticker with marks made beforehand.
type staticTicks []plot.Tick

// Ticks implements plot.Ticker.
func (t staticTicks) Ticks(lo, hi float64) []plot.Tick { return t }
