package exec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"hessdens/internal/graph"
)

// TestSparseInput holds products of an input that is mostly zero, which go by lists, against those of the
// same input as a pointwise operation leaves it, which do not; and one with too few zeros.
func TestSparseInput(t *testing.T) {
	t.Run("float32", testSparseInput[float32])
	t.Run("float64", testSparseInput[float64])
}

func testSparseInput[T Float](t *testing.T) {
	for _, c := range []struct {
		rows, cols, out, k int
	}{{600, 70, 20, 1}, {600, 70, 20, 10}, {1100, 40, 7, 3}, {129, 256, 64, 10}, {300, 64, 5, 2}} {
		for _, share := range []float64{0, 0.2, 0.9} {
			t.Run(fmt.Sprintf("%dx%d to %d, %d directions, %g", c.rows, c.cols, c.out, c.k, share), func(t *testing.T) {
				r := rand.New(rand.NewPCG(9, 9))
				g := graph.New()
				x, w, d := g.Input("x", graph.Float, c.rows, c.cols), g.Param("w", c.out, c.cols), g.Input("d", graph.Float, c.rows, c.out)
				other := g.Mul(x, g.Scalar(1))
				if other == x {
					other = g.Scale(g.Scale(x, 2), 0.5)
				}
				dot := g.Direction(w)
				var outs []*graph.Node
				for _, in := range []*graph.Node{x, other} {
					y := g.Linear(in, w, nil)
					outs = append(outs, y, graph.JVP([]*graph.Node{y}, map[*graph.Node]*graph.Node{w: dot})[0], graph.VJP([]*graph.Node{y}, []*graph.Node{d}, []*graph.Node{w})[0])
				}
				pool := NewPool(2)
				defer pool.Close()
				p, err := Compile[T](outs, Options{Directions: c.k, Pool: pool, Sparse: true})
				if err != nil {
					t.Fatal(err)
				}
				values := func(n int, share float64) []float64 {
					v := make([]float64, n)
					for i := range v {
						if r.Float64() < share {
							v[i] = r.NormFloat64()
						}
					}
					return v
				}
				p.SetFloats(x, values(x.Size(), share))
				p.SetFloats(d, values(d.Size(), 1))
				p.SetFloats(w, values(w.Size(), 1))
				for j := range c.k {
					p.SetDirection(dot, j, values(w.Size(), 1), 0, 1)
				}
				p.Prepare()
				p.RunDirections()
				p.RunPrimal()
				p.RunTangent()
				if len(p.sparsities) != 1 {
					t.Fatalf("%d inputs are looked at, want 1", len(p.sparsities))
				}
				if count, _, _, _, _ := p.sparsities[0].lists(); (*count >= 0) != (share < SparseShare) {
					t.Errorf("%d entries for a share of %g", *count, share)
				}
				tol := 1e-13
				if _, ok := any(T(0)).(float32); ok {
					tol = 1e-4
				}
				for i := range 3 {
					for j := range p.k {
						got, want := make([]float64, count(p.outs[i].shape)), make([]float64, count(p.outs[i].shape))
						p.MoveOutput(got, i, j, true, 0, 1)
						p.MoveOutput(want, i+3, j, true, 0, 1)
						for e := range want {
							if !(math.Abs(got[e]-want[e]) <= tol*float64(c.cols)) {
								t.Fatalf("output %d, direction %d, element %d: %v, want %v", i, j, e, got[e], want[e])
							}
						}
					}
				}
			})
		}
	}
}
