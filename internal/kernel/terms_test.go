package kernel

import (
	"math/rand/v2"
	"testing"
)

func TestMulTerms(t *testing.T) { onPaths(t, testMulTerms[float32], testMulTerms[float64]) }

// Sums of products for several directions have the bits of one product after the other, however their operands lie.
func testMulTerms[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	var ws Workspace[T]
	for range 300 {
		d := Terms{M: 1 + rng.IntN(60), N: 1 + rng.IntN(60), Directions: 1 + rng.IntN(4), Add: rng.IntN(2) == 0}
		if rng.IntN(2) == 0 {
			d.M = (d.M + 3) / 4 * 4
		}
		d.StepC, d.RowC = d.N+rng.IntN(3), (d.N+3)*d.Directions // interleaved, as a tensor's directions are
		before := values[T](rng, d.M*d.RowC)
		got, want := append([]T(nil), before...), append([]T(nil), before...)
		var terms []Term[T]
		for range 1 + rng.IntN(3) {
			x := Term[T]{K: 1 + rng.IntN(80)}
			if rng.IntN(10) == 0 {
				x.K += blockK
			}
			lay := func(rows, cols int) (s []T, row, col, step int) {
				k := d.Directions
				if rng.IntN(2) == 0 {
					k = 1
				}
				if rng.IntN(2) == 0 {
					row, col = cols*k+rng.IntN(2)*8, 1
					step = cols
				} else {
					row, col = 1, rows*k
					step = rows
				}
				if k == 1 {
					step = 0
				}
				return values[T](rng, rows*cols*k+rows*8), row, col, step
			}
			x.A, x.RowA, x.ColA, x.StepA = lay(d.M, x.K)
			x.B, x.RowB, x.ColB, x.StepB = lay(x.K, d.N)
			if rng.IntN(3) == 0 { // panels of a few matrices side by side, of which the first is not used
				n := (d.N + PanelWidth - 1) / PanelWidth * PanelWidth
				b := values[T](rng, x.K*n*(d.Directions+1))
				x.Panels, x.First = NewPanels[T](x.K, n*(d.Directions+1)), n
				x.Panels.Pack(&MatMul{K: x.K, N: n, RowB: n, ColB: 1}, b, d.Directions+1, x.K*n)
				x.B, x.RowB, x.ColB, x.StepB = b[x.K*n:], n, 1, x.K*n
			}
			terms = append(terms, x)
		}
		for x := range d.Directions {
			for i, u := range terms {
				e := MatMul{M: d.M, N: d.N, K: u.K, RowA: u.RowA, ColA: u.ColA, RowB: u.RowB, ColB: u.ColB, RowC: d.RowC, Add: d.Add || i > 0}
				Mul(&ws, &e, want[x*d.StepC:], u.A[x*u.StepA:], u.B[x*u.StepB:])
			}
		}
		for i := range terms {
			if u := &terms[i]; u.Panels != nil {
				u.StepB, u.B = (d.N+PanelWidth-1)/PanelWidth*PanelWidth, nil
			}
		}
		var soon []Area[T]
		for i := range terms[:min(len(terms), MaxAreas/2)] {
			soon = terms[i].Areas(&d, soon)
		}
		MulTerms(&ws, &d, got, terms, soon)
		if !same(got, want) {
			t.Fatalf("%+v, terms %+v: other bits", d, terms)
		}
	}
}
