package density

import (
	"math"
	"sync"

	"gonum.org/v1/gonum/mathext"
)

const (
	// The table of gamma's inverse covers est²/V from e^−14, where one eigenvalue is far away, to e^16, from where the
	// law is normal to 1e-4 of its width.
	tableFrom, tableTo, tableStep = -14.0, 16.0, 0.05

	// A part whose variance is below negligible times its square counts as exact.
	negligible = 1e-13

	// exactShare is the half width of a band where all is exact, relative to the density: what the exact part is good to.
	exactShare = 1e-9
)

// gammaLaw inverts the gamma law in its shape, for one level.
type gammaLaw struct {
	lower, upper []float64 // ln of the shapes at steps of ln x
	z            float64   // the normal quantile
}

var gammaLaws sync.Map // of levels

// lawOf returns the law of a level; tables are made once.
func lawOf(level float64) *gammaLaw {
	if l, ok := gammaLaws.Load(level); ok {
		return l.(*gammaLaw)
	}
	l := &gammaLaw{z: NormalQuantile(level)}
	for i := range int((tableTo-tableFrom)/tableStep) + 1 {
		u := tableFrom + float64(i)*tableStep
		l.lower = append(l.lower, shape(u, (1-level)/2))
		l.upper = append(l.upper, shape(u, (1+level)/2))
	}
	gammaLaws.Store(level, l)
	return l
}

// NormalQuantile returns the half width of a two-sided interval of a standard normal number.
func NormalQuantile(level float64) float64 { return math.Sqrt2 * math.Erfinv(level) }

// shape returns ln a with P(Gamma(a) ≥ e^u) = p, by the regula falsi with bisection (Illinois).
func shape(u, p float64) float64 {
	x := math.Exp(u)
	f := func(a float64) float64 { return mathext.GammaIncRegComp(math.Exp(a), x) - p }
	lo, hi := min(u, 0)-40, math.Log(x+40+15*math.Sqrt(x))
	flo, fhi := f(lo), f(hi)
	for side := 0; hi-lo > 1e-12*max(1, math.Abs(lo)); {
		mid := (lo*fhi - hi*flo) / (fhi - flo)
		if !(mid > lo && mid < hi) || side > 3 || side < -3 {
			mid, side = (lo+hi)/2, 0
		}
		fm := f(mid)
		switch {
		case fm == 0:
			return mid
		case fm < 0:
			if lo, flo = mid, fm; side < 0 {
				fhi /= 2
			}
			side = min(side, 0) - 1
		default:
			if hi, fhi = mid, fm; side > 0 {
				flo /= 2
			}
			side = max(side, 0) + 1
		}
	}
	return (lo + hi) / 2
}

// interval returns both ends for the mean of est, taken as gamma distributed with the known scale θ = variance/est:
//
//	lower = θ a₁ with P(Gamma(a₁) ≥ est/θ) = (1 − level)/2,   upper = θ a₂ with P(Gamma(a₂) ≤ est/θ) = (1 − level)/2.
//
// That is exact for one eigenvalue, whose weight in k probes is χ²_k/k, it is normal where many contribute, and never
// negative. An est far below θ, which says that the mean is larger, is kept within the interval all the same.
func (l *gammaLaw) interval(est, variance float64) (lower, upper float64) {
	if !(est > 0) || !(variance > negligible*est*est) {
		return est, est
	}
	theta := variance / est
	u := (math.Log(est/theta) - tableFrom) / tableStep
	switch last := float64(len(l.lower) - 1); {
	case u >= last:
		d := l.z * math.Sqrt(variance)
		return est - d, est + d
	case u < 0:
		u = 0
	}
	return min(est, theta*math.Exp(at(l.lower, u))), theta * math.Exp(at(l.upper, u))
}

// at interpolates a table by cubics through four points.
func at(y []float64, u float64) float64 {
	i := min(max(int(u), 1), len(y)-3)
	t := u - float64(i)
	a, b, c, d := y[i-1], y[i], y[i+1], y[i+2]
	return b + t*((c-a)/2+t*(a-2.5*b+2*c-d/2+t*((d-a)/2+1.5*(b-c))))
}

// studentQuantile returns the half width of a two-sided interval of Student's law with nu > 0 degrees of freedom.
func studentQuantile(nu, level float64) float64 {
	if nu > 1e6 {
		return NormalQuantile(level)
	}
	// P(|t| > q) = I_x(ν/2, ½) with x = ν/(ν + q²).
	x := mathext.InvRegIncBeta(nu/2, 0.5, 1-level)
	return math.Sqrt(nu * (1 - x) / x)
}
