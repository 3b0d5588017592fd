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

// BandwidthGBS is the rate at which one thread moves data to and from memory, in 10⁹ bytes a second: the
// best pass of a = b + 3·c, over arrays that no cache holds, in the given time. It counts two arrays
// read and one written (McCalpin's STREAM triad).
func BandwidthGBS(seconds float64) float64 {
	const n = 4 << 20 // of 8 bytes, three times
	a, b, c := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range b {
		b[i], c[i] = float64(i), 1
	}
	best := 0.0
	for end := time.Now().Add(time.Duration(seconds * 1e9)); ; {
		start := time.Now()
		for i, x := range b {
			a[i] = x + 3*c[i]
		}
		best = max(best, 3*8*n/time.Since(start).Seconds()*1e-9)
		if time.Now().After(end) {
			return best
		}
	}
}
