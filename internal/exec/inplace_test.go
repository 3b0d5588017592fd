package exec

import (
	"math"
	"math/rand/v2"
	"testing"

	"hessdens/internal/graph"
)

// TestInPlace: a chain writes an output over an input that nothing reads afterwards, and over no other.
func TestInPlace(t *testing.T) {
	const rows, cols = 40, 40
	type nodes = []*graph.Node
	for _, c := range []struct {
		name string
		make func(g *graph.Graph, y, w *graph.Node) nodes // of the product y
		want func(y float64) []float64                    // of what is multiplied by w, or given out, in the order of the outputs
		over int                                          // how many outputs of chains lie where an input does
	}{
		{"last reader", func(g *graph.Graph, y, w *graph.Node) nodes {
			return nodes{g.MatMul(g.Tanh(y), w, false, false)}
		}, func(y float64) []float64 { return []float64{math.Tanh(y)} }, 1},
		{"read by another", func(g *graph.Graph, y, w *graph.Node) nodes {
			return nodes{g.MatMul(g.Tanh(y), w, false, false), g.MatMul(y, w, false, false)}
		}, func(y float64) []float64 { return []float64{math.Tanh(y), y} }, 0},
		{"read by a later step", func(g *graph.Graph, y, w *graph.Node) nodes {
			a := g.Tanh(y)
			return nodes{g.MatMul(a, w, false, false), g.MatMul(g.Mul(g.Sin(a), y), w, false, false)}
		}, func(y float64) []float64 { return []float64{math.Tanh(y), math.Sin(math.Tanh(y)) * y} }, 1}, // the second
		{"read as it does not lie", func(g *graph.Graph, y, w *graph.Node) nodes {
			one := g.AddC(g.Scale(g.Transpose(y, 1, 0), 0), 1)
			return nodes{g.MatMul(g.Mul(g.Tanh(y), one), w, false, false)}
		}, func(y float64) []float64 { return []float64{math.Tanh(y)} }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool := NewPool(2)
			defer pool.Close()
			r := rand.New(rand.NewPCG(5, 6))
			g := graph.New()
			x, w := g.Input("x", graph.Float, rows, cols), g.Param("w", cols, cols)
			at := leafValues{x: randomVector(r, rows*cols), w: randomVector(r, cols*cols)}
			outs := c.make(g, g.MatMul(x, w, false, false), w)
			p := compiled[float64](t, pool, outs, at)
			p.Prepare()
			p.RunPrimal()
			over := 0
			for _, task := range p.stages[stagePrimal].tasks {
				h, ok := task.(*chain[float64])
				if !ok {
					continue
				}
				for _, y := range h.out {
					for _, x := range h.in {
						if y.ref.arena == x.ref.arena && y.ref.off < x.ref.off+x.ref.n && x.ref.off < y.ref.off+y.ref.n {
							over++
						}
					}
				}
			}
			if over != c.over {
				t.Errorf("%d outputs over inputs, want %d", over, c.over)
			}
			mul := func(a []float64, i, j int) (s float64) {
				for l := range cols {
					s += a[i*cols+l] * at[w][l*cols+j]
				}
				return s
			}
			z := make([][]float64, len(outs))
			for i := range rows {
				for j := range cols {
					for o, v := range c.want(mul(at[x], i, j)) {
						z[o] = append(z[o], v)
					}
				}
			}
			for o, got := range outputs(p, outs) {
				n := outs[o].Size()
				for i := range n {
					if want := mul(z[o], i/cols, i%cols); math.Abs(got[0][i]-want) > 1e-12*(1+math.Abs(want))*cols {
						t.Fatalf("output %d, element %d: %v, want %v", o, i, got[0][i], want)
					}
				}
			}
		})
	}
}
