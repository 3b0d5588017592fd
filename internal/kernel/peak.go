package kernel

import "time"

// PeakGFLOPS is the rate of multiply-adds that one thread reaches in registers
// alone on the path in use, in 10⁹ operations a second (a multiply-add is two): the
// best of repeated runs in the given time. It is what the kernels' rates are held
// against.
func PeakGFLOPS[T Float](seconds float64) float64 {
	best, n := 0.0, 1000
	for end := time.Now().Add(time.Duration(seconds * 1e9)); ; {
		start := time.Now()
		flops := peakRounds[T](n)
		s := time.Since(start).Seconds()
		if s < 1e-3 {
			n *= 2
		} else {
			best = max(best, flops/s*1e-9)
		}
		if best > 0 && time.Now().After(end) {
			return best
		}
	}
}

// peakGeneric runs n rounds of a multiplication and an addition in eight chains
// and counts them. The sum is there so that the compiler does not drop the work.
//
//go:noinline
func peakGeneric[T Float](n int) (flops float64, sum T) {
	x, y := T(0.5), T(n)
	var a, b, c, d, e, f, g, h T
	for range n {
		a = T(a*x) + y
		b = T(b*x) + y
		c = T(c*x) + y
		d = T(d*x) + y
		e = T(e*x) + y
		f = T(f*x) + y
		g = T(g*x) + y
		h = T(h*x) + y
	}
	return 16 * float64(n), a + b + c + d + e + f + g + h
}
