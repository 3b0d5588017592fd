package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestMulSparse(t *testing.T) { onPaths(t, testMulSparse[float32], testMulSparse[float64]) }

func testMulSparse[T Float](t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for n := 1; n <= 230; n++ {
		rows := 1 + r.IntN(40)
		rowB := n + r.IntN(5)
		var index []int32
		for i := range rows {
			if r.IntN(3) > 0 {
				index = append(index, int32(i))
			}
		}
		a, b := values[T](r, rows), values[T](r, rows*rowB)
		for _, add := range []bool{false, true} {
			const guard = 77
			whole := make([]T, n+32)
			for i := range whole {
				whole[i] = guard
			}
			c := whole[16 : 16+n]
			copy(c, values[T](r, n))
			before := slices.Clone(c)
			d := &Sparse{N: n, Index: index, RowB: rowB, Add: add}
			MulSparse(d, c, a, b)
			for j, got := range c {
				var want, size float64
				if add {
					want = float64(before[j])
				}
				for i, q := range index {
					x := float64(a[i]) * float64(b[int(q)*rowB+j])
					want += x
					size += math.Abs(x)
				}
				if !(math.Abs(float64(got)-want) <= 4*float64(len(index)+2)*eps[T]()*(size+1)) {
					t.Fatalf("n = %d, column %d of %d terms: %v, want %v", n, j, len(index), got, want)
				}
				// The same bits whatever the columns beside it.
				one := []T{before[j]}
				MulSparse(&Sparse{N: 1, Index: index, RowB: rowB, Add: add}, one, a, b[j:])
				if one[0] != got {
					t.Fatalf("n = %d, column %d: %v among others, %v alone", n, j, got, one[0])
				}
			}
			for i, v := range whole {
				if (i < 16 || i >= 16+n) && v != guard {
					t.Fatalf("n = %d: writes outside", n)
				}
			}
		}
	}
}

func TestMulSparseBounds(t *testing.T) {
	a, b, c := make([]float32, 10), make([]float32, 40), make([]float32, 4)
	for want, f := range map[string]func(){
		shortA: func() { MulSparse(&Sparse{N: 4, Index: make([]int32, 11), RowB: 1}, c, a, b) },
		shortB: func() { MulSparse(&Sparse{N: 4, Index: []int32{3, 9}, RowB: 5}, c, a, b) },
		shortC: func() { MulSparse(&Sparse{N: 5, Index: []int32{1}, RowB: 4}, c, a, b) },
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("got %v, want %v", got, want)
				}
			}()
			f()
		}()
	}
}

// The first layer of an MLP on images of which a fifth is not zero; rates are those of the dense product.
func BenchmarkMulSparse(b *testing.B) { eachPath(b, benchMulSparse[float32], benchMulSparse[float64]) }

func benchMulSparse[T Float](b *testing.B, peak float64) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{20, 128, 200, 1280} {
		a, w, c := values[T](r, 784), values[T](r, 784*n), make([]T, n)
		var index []int32
		for i := range 784 {
			if r.IntN(5) == 0 {
				index = append(index, int32(i))
			}
		}
		d := &Sparse{N: n, Index: index, RowB: n}
		measure(b, fmt.Sprint(n), peak, 2*100*784*float64(n), func() {
			for range 100 {
				MulSparse(d, c, a, w)
			}
		})
	}
}
