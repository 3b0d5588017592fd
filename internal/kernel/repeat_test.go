package kernel

import (
	"math/rand/v2"
	"testing"
)

func TestRepeat(t *testing.T) { onPaths(t, testRepeat[float32], testRepeat[float64]) }

func testRepeat[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 300 {
		rows, n, times := rng.IntN(5), 1+rng.IntN(70), 1+rng.IntN(70)
		switch rng.IntN(3) {
		case 0:
			n = 16 * (1 + rng.IntN(5))
		case 1:
			n, times = 1, 16*(1+rng.IntN(5))
		}
		src, dst := values[T](rng, rows*n), newBuffer[T](rng, rows*n*times)
		before := dst.clone()
		Repeat(dst.v, src, n, times)
		for i, x := range dst.v {
			if want := src[i/(n*times)*n+i%n]; x != want {
				t.Fatalf("%d rows of %d, %d times: element %d is %v, want %v", rows, n, times, i, x, want)
			}
		}
		copy(dst.v, before.v)
		if !same(dst.all, before.all) {
			t.Fatalf("%d rows of %d, %d times: writes elsewhere", rows, n, times)
		}
	}
}

func TestAddRows(t *testing.T) { onPaths(t, testAddRows[float32], testAddRows[float64]) }

func testAddRows[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 10))
	for n := 1; n < 150; n++ {
		rows, step := rng.IntN(6), n+rng.IntN(3)*rng.IntN(40)
		src, dst := newBuffer[T](rng, max(0, (rows-1)*step+n)), newBuffer[T](rng, n)
		copy(src.v, values[T](rng, len(src.v)))
		copy(dst.v, values[T](rng, n))
		want := dst.clone()
		for r := range rows {
			for i := range n {
				want.v[i] += src.v[r*step+i]
			}
		}
		if AddRows(dst.v, src.v, rows, step); !same(dst.all, want.all) {
			t.Fatalf("%d rows of %d, %d apart: %v, want %v", rows, n, step, dst.v, want.v)
		}
	}
}
