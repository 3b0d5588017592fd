package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestColumns(t *testing.T) { onPaths(t, testColumns[float32], testColumns[float64]) }

// Every number of columns up to three rounds of the largest kernel and rows around whole lines, at odd offsets between guards.
func testColumns[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for columns := range 26 {
		for _, rows := range []int{0, 1, 15, 16, 17, 31, 32, 47, 64, 127, 128, 300} {
			at := rng.IntN(20)
			q := make([][]T, columns)
			for i := range q {
				b := newBuffer[T](rng, at+rows)
				for r := range b.v {
					b.v[r] = T(rng.NormFloat64())
				}
				q[i] = b.v
			}
			w, c, sums := newBuffer[float64](rng, rows), newBuffer[float64](rng, columns), newBuffer[float64](rng, columns)
			for _, b := range []*buffer[float64]{w, c, sums} {
				for i := range b.all { // the guards too: a sum with NaN would not show
					b.all[i] = rng.NormFloat64()
				}
			}
			what := fmt.Sprintf("%d columns, %d rows", columns, rows)
			want, size := make([]float64, columns), make([]float64, columns)
			for i := range q {
				want[i], size[i] = sums.v[i], math.Abs(sums.v[i])
				for r, x := range w.v {
					y := float64(q[i][at+r]) * x
					want[i] += y
					size[i] += math.Abs(y)
				}
			}
			before, alone := sums.clone(), sums.clone()
			Dots(sums.v, q, at, w.v)
			for i, got := range sums.v {
				if !(math.Abs(got-want[i]) <= tolSum*float64(rows+1)*0x1p-53*size[i]) {
					t.Fatalf("%s: sum %d is %v, want %v", what, i, got, want[i])
				}
				if Dots(alone.v[i:], q[i:i+1], at, w.v); alone.v[i] != got {
					t.Fatalf("%s: sum %d is %v among others, %v alone", what, i, got, alone.v[i])
				}
			}
			if copy(before.v, sums.v); !same(sums.all, before.all) {
				t.Fatalf("%s: Dots writes outside", what)
			}

			before, alone = w.clone(), w.clone()
			rest, total := append([]float64(nil), w.v...), make([]float64, rows)
			for r := range rest {
				total[r] = math.Abs(rest[r])
				for i := range q {
					y := c.v[i] * float64(q[i][at+r])
					rest[r] -= y
					total[r] += math.Abs(y)
				}
			}
			Minus(w.v, c.v, q, at)
			for i := range q {
				Minus(alone.v, c.v[i:], q[i:i+1], at)
			}
			for r, got := range w.v {
				if !(math.Abs(got-rest[r]) <= tolSum*float64(columns+1)*0x1p-53*total[r]) {
					t.Fatalf("%s: row %d is %v, want %v", what, r, got, rest[r])
				}
				if alone.v[r] != got {
					t.Fatalf("%s: row %d is %v together, %v one by one", what, r, got, alone.v[r])
				}
			}
			if copy(before.v, w.v); !same(w.all, before.all) {
				t.Fatalf("%s: Minus writes outside", what)
			}
		}
	}
}

func TestColumnsBounds(t *testing.T) {
	q := [][]float32{make([]float32, 20), make([]float32, 19)}
	w, c := make([]float64, 16), make([]float64, 2)
	for _, test := range []struct {
		want string
		f    func()
	}{
		{shortA, func() { Dots(c, q, 4, w) }},
		{shortA, func() { Minus(w, c, q, 4) }},
		{shortC, func() { Dots(c[:1], q, 0, w) }},
		{shortC, func() { Minus(w, c[:1], q, 0) }},
		{badShape, func() { Dots(c, q, -1, w) }},
		{shortA, func() { Minus(w, c, q, math.MaxInt) }},
	} {
		func() {
			defer func() {
				if got := recover(); got != test.want {
					t.Errorf("got %v, want %v", got, test.want)
				}
			}()
			test.f()
		}()
	}
}

func BenchmarkColumns(b *testing.B) { eachPath(b, benchColumns[float32], benchColumns[float64]) }

// Forty-five columns of 270,000 rows, which no cache holds, in blocks as Lanczos takes them.
func benchColumns[T Float](b *testing.B, peak float64) {
	const rows, columns = 269_722, 45
	q := make([][]T, columns)
	for i := range q {
		q[i] = make([]T, rows)
		for r := range q[i] {
			q[i][r] = T(r%7+i) * 1e-3
		}
	}
	w, c := make([]float64, rows), make([]float64, columns)
	for r := range w {
		w[r] = float64(r % 5)
	}
	for _, block := range []int{512, 1024, 2048, 4096} {
		blocks := func(f func(at, end int)) func() {
			return func() {
				for at := 0; at < rows; at += block {
					f(at, min(at+block, rows))
				}
			}
		}
		measure(b, fmt.Sprintf("dots/%d", block), peak, 2*rows*columns, blocks(func(at, end int) { Dots(c, q, at, w[at:end]) }))
		clear(c)
		measure(b, fmt.Sprintf("minus/%d", block), peak, 2*rows*columns, blocks(func(at, end int) { Minus(w[at:end], c, q, at) }))
	}
}
