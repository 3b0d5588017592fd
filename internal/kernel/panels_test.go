package kernel

import (
	"math/rand/v2"
	"testing"
)

func TestPanels(t *testing.T) { onPaths(t, testPanels[float32], testPanels[float64]) }

// Panels change no bit: any tile of the product, of one matrix or of several side by side.
func testPanels[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	var ws Workspace[T]
	for range 200 {
		m, n, k, matrices := 1+rng.IntN(40), 1+rng.IntN(50), 1+rng.IntN(100), 1+rng.IntN(4)
		if rng.IntN(10) == 0 {
			k += blockK
		}
		d := MatMul{M: m, N: n, K: k, RowA: k, ColA: 1, RowC: n * matrices, Add: rng.IntN(2) == 0}
		step := n * k
		switch rng.IntN(3) {
		case 0:
			d.RowB, d.ColB = n, 1
		case 1:
			d.RowB, d.ColB = 1, k
		default: // interleaved
			d.RowB, d.ColB, step = n*matrices, 1, n
		}
		a, b, before := values[T](rng, m*k), values[T](rng, n*k*matrices), values[T](rng, m*n*matrices)
		want, got := append([]T(nil), before...), append([]T(nil), before...)
		for x := range matrices {
			Mul(&ws, &d, want[x*n:], a, b[x*step:])
		}
		p := NewPanels[T](k, n*matrices)
		p.Pack(&d, b, matrices, step)
		first := rng.IntN(n*matrices/PanelWidth+1) * PanelWidth
		for _, c := range [][2]int{{0, first}, {first, n * matrices}} {
			e := d
			e.N = c[1] - c[0]
			MulPanels(&ws, &e, got[min(c[0], len(got)):], a, p, c[0])
		}
		if !same(got, want) {
			t.Fatalf("%+v, %d matrices at %d, columns from %d: other bits", d, matrices, step, first)
		}
	}
	for range 50 {
		g := image{1 + rng.IntN(2), 2 + rng.IntN(6), 2 + rng.IntN(6), 3, 1, 1, 1, 1 + rng.IntN(3)}
		width, n := 1+rng.IntN(100), 1+rng.IntN(70)
		if rng.IntN(10) == 0 {
			width += blockK
		}
		off, rows, taps, size := g.table(width)
		d := Gather{Rows: rows, Taps: taps, Width: width, N: n, Off: off, TapB: width * n, RowB: n, RowC: n, Add: rng.IntN(2) == 0}
		a, b, before := values[T](rng, size), values[T](rng, taps*width*n), values[T](rng, rows*n)
		want, got := append([]T(nil), before...), append([]T(nil), before...)
		MulGather(&ws, &d, want, a, b)
		p := NewPanels[T](taps*width, n)
		k := 1
		for _, x := range []int{2, 3, 5} {
			if n%x == 0 {
				k = x
			}
		}
		at := Weights{Tap: d.TapB, In: d.RowB, Out: 1, Dir: n / k, K: k}
		var named []int
		switch rng.IntN(3) {
		case 1: // channels together, taps in another order
			at = Weights{Tap: width * n, In: 1, Out: width * k, Dir: width, K: k}
			named = rng.Perm(taps)
			turned := make([]T, len(b))
			for i, x := range b {
				t, c, j := i/(width*n), i/n%width, i%n
				turned[named[t]*at.Tap+c*at.In+j%(n/k)*at.Out+j/(n/k)*at.Dir] = x
			}
			b = turned
		case 2: // directions apart
			at.Dir, at.In, at.Tap = taps*width*(n/k), n/k, width*(n/k)
			turned := make([]T, len(b))
			for i, x := range b {
				t, c, j := i/(width*n), i/n%width, i%n
				turned[t*at.Tap+c*at.In+j%(n/k)*at.Out+j/(n/k)*at.Dir] = x
			}
			b = turned
		}
		p.PackGather(&d, b, at, named)
		first := rng.IntN(n/PanelWidth+1) * PanelWidth
		for _, c := range [][2]int{{0, first}, {first, n}} {
			e := d
			e.N = c[1] - c[0]
			MulGatherPanels(&ws, &e, got[min(c[0], len(got)):], a, p, c[0])
		}
		if !same(got, want) {
			t.Fatalf("%+v, columns from %d: other bits", d, first)
		}
	}
}
