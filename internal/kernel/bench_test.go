package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// Every benchmark reports the rate of its best call and the share of what one thread
// reaches in registers, measured in the same run. The shapes are those of networks with ten
// probes. Pick a path and precision with -bench, as in -bench 'Conv/avx2/float32'.

func eachPath(b *testing.B, f32, f64 func(*testing.B, float64)) {
	for _, p := range paths() {
		force(b, p)
		peak32, peak64 := PeakGFLOPS[float32](0.2), PeakGFLOPS[float64](0.2)
		b.Run(p+"/float32", func(b *testing.B) { f32(b, peak32) })
		if f64 != nil {
			b.Run(p+"/float64", func(b *testing.B) { f64(b, peak64) })
		}
	}
}

func measure(b *testing.B, name string, peak, flops float64, f func()) {
	b.Run(name, func(b *testing.B) {
		f()
		best := time.Duration(math.MaxInt64)
		for b.Loop() {
			start := time.Now()
			f()
			best = min(best, time.Since(start))
		}
		rate := flops / best.Seconds() * 1e-9
		b.ReportMetric(rate, "GFLOP/s")
		b.ReportMetric(100*rate/peak, "%peak")
	})
}

func values[T Float](rng *rand.Rand, n int) []T {
	v := make([]T, n)
	for i := range v {
		v[i] = T(rng.Float64() - 0.5)
	}
	return v
}

const probes = 10

func BenchmarkConv(b *testing.B) { eachPath(b, benchConv[float32], benchConv[float64]) }

// The stages of ResNet-20. x·Ẇ has the probes in the columns, ẋ·W in the rows; the
// weight gradients likewise.
func benchConv[T Float](b *testing.B, peak float64) {
	rng := rand.New(rand.NewPCG(1, 1))
	var ws Workspace[T]
	for _, s := range []struct{ side, ch, images int }{{32, 16, 4}, {16, 32, 8}, {8, 64, 16}} {
		g := image{s.images, s.side, s.side, 3, 1, 1, 1, 1}
		gk := g
		gk.probes = probes
		ch, wide := s.ch, probes*s.ch
		off, rows, taps, size := g.table(ch)
		offK, rowsK, _, sizeK := gk.table(ch)
		x, xk := values[T](rng, size), values[T](rng, sizeK)
		w, wk := values[T](rng, taps*ch*ch), values[T](rng, taps*ch*wide)
		y := make([]T, rows*wide)
		at := fmt.Sprintf("%dx%dx%d", s.side, s.side, ch)
		flops := 2 * float64(rows*taps*ch*wide)
		pairs := 0
		for _, o := range off {
			if o >= 0 {
				pairs++
			}
		}
		done := 2 * float64(pairs*ch*wide)
		d := Gather{Rows: rows, Taps: taps, Width: ch, N: wide, Off: off, TapB: ch * wide, RowB: wide, RowC: wide}
		measure(b, at+"/x·dW", peak, flops, func() { MulGather(&ws, &d, y, x, wk) })
		e := Gather{Rows: rowsK, Taps: taps, Width: ch, N: ch, Off: offK, TapB: ch * ch, RowB: ch, RowC: ch, Add: true}
		measure(b, at+"/dx·W", peak, flops, func() { MulGather(&ws, &e, y, xk, w) })
		dw := make([]T, len(wk))
		f := GatherT{Rows: rows, Taps: taps, T1: taps, Width: ch, N: wide, Off: off, RowB: wide, TapC: ch * wide, RowC: wide}
		measure(b, at+"/xT·dδ", peak, done, func() { MulGatherT(&ws, &f, dw, x, y) })
		// the tangents of all probes lie side by side: one row of probes·channels a pixel
		offW, _, _, _ := g.table(wide)
		h := GatherT{Rows: rows, Taps: taps, T1: taps, Width: wide, N: ch, Off: offW, RowB: ch, TapC: ch * wide, RowC: ch}
		measure(b, at+"/dxT·δ", peak, done, func() { MulGatherT(&ws, &h, dw, xk, x) })
	}
}

func BenchmarkWinograd(b *testing.B) { eachPath(b, benchWinograd[float32], nil) }

// Sums of both terms of a product rule, counted as the direct sums that BenchmarkConv measures; gradients leave out pairs
// outside of the image, as it does.
func benchWinograd[T Float](b *testing.B, peak float64) {
	rng := rand.New(rand.NewPCG(3, 3))
	var ws Workspace[T]
	for _, s := range []struct{ side, ch, images int }{{32, 16, 4}, {16, 32, 8}, {8, 64, 16}, {14, 128, 4}, {7, 256, 8}} {
		d := Winograd{s.images, s.side, s.side, s.ch, s.ch, probes}
		pixels := s.images * s.side * s.side
		wide := probes * s.ch
		x, dx := values[T](rng, pixels*s.ch), values[T](rng, pixels*wide)
		w, dw := values[T](rng, 9*s.ch*s.ch), values[T](rng, 9*s.ch*wide)
		u, du := make([]T, d.Weights(1)), make([]T, d.Weights(probes))
		y := make([]T, pixels*wide)
		flops := 2 * 2 * 9 * float64(pixels*s.ch*wide)
		at := fmt.Sprintf("%dx%dx%d", s.side, s.side, s.ch)
		TransformWeights(&ws, &d, u, w, Weights{s.ch * s.ch, s.ch, 1, 0, 1}, false, 0, s.ch)
		measure(b, at+"/weights", peak, flops, func() { TransformWeights(&ws, &d, du, dw, Weights{s.ch * wide, wide, 1, s.ch, probes}, false, 0, s.ch) })
		measure(b, at+"/x·dW+dx·W", peak, flops, func() {
			MulWinograd(&ws, &d, y, []WinogradTerm[T]{{x, 1, du, probes}, {dx, probes, u, 1}}, 0, s.images*d.Tiles(), 0, d.K)
		})
		measure(b, at+"/dx·W", peak, flops/2, func() {
			MulWinograd(&ws, &d, y, []WinogradTerm[T]{{dx, probes, u, 1}}, 0, s.images*d.Tiles(), 0, d.K)
		})
		inside := 3*float64(s.side) - 2
		flops *= inside * inside / float64(9*s.side*s.side)
		for _, n := range []int{1, 2, 5, probes} {
			measure(b, fmt.Sprintf("%s/xT·dδ+dxT·δ/%d", at, n), peak, flops, func() {
				for j := 0; j < probes; j += n {
					MulWinogradT(&ws, &d, dw, []WinogradPair[T]{{x, 1, y, probes}, {dx, probes, x, 1}}, 0, s.ch, j, j+n)
				}
			})
		}
	}
}

func BenchmarkMul(b *testing.B) { eachPath(b, benchMul[float32], benchMul[float64]) }

func benchMul[T Float](b *testing.B, peak float64) {
	rng := rand.New(rand.NewPCG(2, 2))
	var ws Workspace[T]
	for _, s := range []struct {
		m, n, k int
		ta, tb  bool // stored transposed
	}{
		{500, 200, 784, false, false}, // x·Ẇ, 784 to 20
		{500, 200, 784, false, true},  // the same, weights stored [out, in]
		{500, 20, 784, false, true},
		{5000, 10, 20, false, true}, // ẋ·W, 20 to 10
		{5000, 20, 20, false, false},
		{500, 1280, 784, false, true}, // 784 to 128
		{5000, 64, 128, false, true},
		{5000, 128, 64, false, false},
		{200, 784, 500, true, false}, // weight gradients
		{20, 784, 5000, true, false},
		{10, 200, 500, true, false},
		{1280, 784, 500, true, false},
		{640, 128, 1000, true, false},
		{512, 512, 512, false, false},
		{512, 512, 512, true, true},
		{2048, 512, 128, false, false},
		{12, 512, 512, false, false},
		{1, 512, 512, false, false},
	} {
		a, bb, c := values[T](rng, s.m*s.k), values[T](rng, s.k*s.n), make([]T, s.m*s.n)
		d := MatMul{M: s.m, N: s.n, K: s.k, RowA: s.k, ColA: 1, RowB: s.n, ColB: 1, RowC: s.n}
		name := fmt.Sprintf("%dx%dx%d/", s.m, s.n, s.k)
		if s.ta {
			d.RowA, d.ColA = 1, s.m
			name += "T"
		} else {
			name += "N"
		}
		if s.tb {
			d.RowB, d.ColB = 1, s.k
			name += "T"
		} else {
			name += "N"
		}
		measure(b, name, peak, 2*float64(s.m)*float64(s.n)*float64(s.k), func() { Mul(&ws, &d, c, a, bb) })
	}
}
