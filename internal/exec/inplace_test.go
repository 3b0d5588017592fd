package exec

import (
	"fmt"
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

// TestSettle: products are made where a concatenation would put them, or added where zeros around them say, if nothing else reads them; and the
// results are those of a program that keeps every value, and so nothing is in the place of another.
func TestSettle(t *testing.T) {
	type nodes = []*graph.Node
	for _, c := range []struct {
		name   string
		make   func(g *graph.Graph, y func(rows int) *graph.Node, w *graph.Node) *graph.Node // of products of 8 columns, with directions as columns of the product if rows is negative
		copies int
	}{
		{"concatenation", func(g *graph.Graph, y func(int) *graph.Node, w *graph.Node) *graph.Node {
			return g.MatMul(g.Concat(0, y(5), y(3)), w, false, false)
		}, 0},
		{"side by side", func(g *graph.Graph, y func(int) *graph.Node, w *graph.Node) *graph.Node {
			return g.Scale(g.Concat(1, y(5), g.Add(y(5), g.MatMul(y(5), w, false, false))), 2)
		}, 0},
		{"side by side, of directions along columns", func(g *graph.Graph, y func(int) *graph.Node, w *graph.Node) *graph.Node {
			return g.Scale(g.Concat(1, y(-5), y(-5)), 2)
		}, 2},
		{"of other than products", func(g *graph.Graph, y func(int) *graph.Node, w *graph.Node) *graph.Node {
			return g.MatMul(g.Concat(0, y(5), g.Scale(g.Add(y(3), g.Sum(y(3), 1)), 3)), w, false, false)
		}, 1},
		{"twice the same", func(g *graph.Graph, y func(int) *graph.Node, w *graph.Node) *graph.Node {
			a := y(5)
			return g.MatMul(g.Concat(0, a, a), w, false, false)
		}, 2},
		{"read elsewhere too", func(g *graph.Graph, y func(int) *graph.Node, w *graph.Node) *graph.Node {
			a := y(5)
			return g.MatMul(g.Concat(0, a, g.MatMul(a, w, false, false)), w, false, false)
		}, 1},
		{"columns apart", func(g *graph.Graph, y func(int) *graph.Node, w *graph.Node) *graph.Node {
			return g.MatMul(g.Concat(0, y(8), g.Transpose(y(8), 1, 0)), w, false, false)
		}, 1},
		{"part of a product", func(g *graph.Graph, y func(int) *graph.Node, w *graph.Node) *graph.Node {
			return g.MatMul(g.Concat(0, y(8), g.Slice(y(8), []int{2, 0}, nil, []int{3, 8})), w, false, false)
		}, 1},
		{"heads", func(g *graph.Graph, y func(int) *graph.Node, w *graph.Node) *graph.Node {
			heads := func(n int) *graph.Node { // products of two heads, seen as positions of heads
				a := g.Reshape(y(2*n), 2, n, 8)
				return g.Transpose(g.MatMul(a, g.Reshape(g.Concat(0, w, w), 2, 8, 8), false, false), 1, 0, 2)
			}
			return g.MatMul(g.Reshape(g.Concat(1, g.Concat(0, heads(3), heads(2)), heads(5)), 5, 32), g.Concat(0, w, w, w, w), false, false)
		}, 0},
		{"sums with zeros around", func(g *graph.Graph, y func(int) *graph.Node, w *graph.Node) *graph.Node {
			sum := g.Add(g.Add(y(8), g.Pad(y(5), []int{0, 0}, []int{3, 0}, nil)), g.Pad(g.Add(y(4), g.MatMul(y(4), w, false, false)), []int{2, 0}, []int{2, 0}, nil))
			return g.MatMul(g.Concat(0, y(3), sum, y(2)), w, false, false)
		}, 0},
		{"zeros between", func(g *graph.Graph, y func(int) *graph.Node, w *graph.Node) *graph.Node {
			return g.MatMul(g.Add(y(5), g.Pad(y(3), []int{0, 0}, []int{0, 0}, []int{1, 0})), w, false, false)
		}, 1},
	} {
		for _, k := range []int{1, 3} {
			t.Run(c.name, func(t *testing.T) {
				pool := NewPool(2)
				defer pool.Close()
				r := rand.New(rand.NewPCG(5, 6))
				g := graph.New()
				w := g.Param("w", 8, 8)
				d := g.Direction(w)
				at, dirs := leafValues{w: randomVector(r, 64)}, make([]leafValues, k)
				for j := range dirs {
					dirs[j] = leafValues{d: randomVector(r, 64)}
				}
				out := c.make(g, func(rows int) *graph.Node {
					n := max(rows, -rows)
					x := g.Input(fmt.Sprint("x", len(at)), graph.Float, n, 8)
					at[x] = randomVector(r, 8*n)
					product := g.MatMul(x, d, false, false)
					if rows < 0 {
						return product
					}
					return g.MatMul(product, w, false, false)
				}, w)
				p := compiled[float64](t, pool, nodes{out}, at, dirs...)
				copies := 0
				for _, task := range p.stages[stageTangent].tasks {
					if _, ok := task.(*place[float64]); ok {
						copies++
					}
				}
				if copies != c.copies {
					t.Errorf("%d copies, want %d", copies, c.copies)
				}
				p.Prepare()
				p.RunDirections()
				got := [][][]float64{}
				for range 2 { // what is added to is written anew
					p.RunPrimal()
					p.RunTangent()
					got = outputs(p, nodes{out})
				}
				var all nodes
				for _, n := range g.Nodes() {
					if n != out && n.Kind() == graph.Float {
						all = append(all, n)
					}
				}
				want := evaluate[float64](t, pool, append(nodes{out}, all...), at, dirs...)
				for j := range got[0] {
					for i, v := range got[0][j] {
						if math.Abs(v-want[0][j][i]) > 1e-13*largest(want[:1]) {
							t.Fatalf("direction %d, element %d: %v, want %v", j, i, v, want[0][j][i])
						}
					}
				}
			})
		}
	}
}
