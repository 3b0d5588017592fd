package exec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"hessdens/internal/graph"
)

// Adjoints of convolutions with a stride, in phases, against the same of a graph whose input is a parameter, which has none.
func TestPhased(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	wide := graph.Square(9, 7, 3, 2, 2)
	wide.Dilation = []int{2, 1}
	uneven := graph.Square(8, 8, 2, 3, 1)
	uneven.Stride = []int{3, 1}
	line := graph.Window{Size: []int{13}, Kernel: []int{3}, Stride: []int{3}, Dilation: []int{1}, Low: []int{0}, High: []int{1}}
	for i, w := range []graph.Window{graph.Square(8, 8, 3, 2, 1), graph.Square(7, 7, 1, 2, 0), graph.Square(7, 7, 2, 4, 0), wide, uneven, line} {
		for _, k := range []int{1, 3} {
			const n, cin, cout = 20, 3, 5
			var want [][][]float64
			for _, param := range []bool{true, false} {
				r := rand.New(rand.NewPCG(uint64(i), 33))
				g := graph.New()
				geo := g.Geometry(w)
				leaf := func(name string, shape ...int) *graph.Node {
					if param {
						return g.Param(name, shape...)
					}
					return g.Input(name, graph.Float, shape...)
				}
				x, s, u := leaf("x", n, geo.In, cin), g.Param("s", cin), g.Param("u", geo.Taps, cin, cout)
				y := g.Tanh(g.Conv(g.Sin(g.Mul(x, s)), u, geo))
				loss := g.Sum(g.Mul(y, y))
				wrt := []*graph.Node{s, u}
				grads := graph.VJP([]*graph.Node{loss}, []*graph.Node{g.Scalar(1)}, wrt)
				seeds := map[*graph.Node]*graph.Node{s: g.Direction(s), u: g.Direction(u)}
				outs := graph.JVP(grads, seeds)
				at := map[*graph.Node][]float64{}
				for _, l := range []*graph.Node{x, s, u} {
					at[l] = randomVector(r, l.Size())
				}
				var dirs []map[*graph.Node][]float64
				for range k {
					dirs = append(dirs, map[*graph.Node][]float64{seeds[s]: randomVector(r, s.Size()), seeds[u]: randomVector(r, u.Size())})
				}
				what := fmt.Sprintf("%v, %d directions, parameter %v", w, k, param)
				p := compiled[float64](t, pool, outs, at, dirs...)
				phases, taps := 0, 0
				for _, stage := range p.stages {
					for _, task := range stage.tasks {
						if c, ok := task.(*phased[float64]); ok {
							phases++
							taps += c.work()
						}
					}
				}
				if (phases > 0) == param || phases > 0 && taps == 0 {
					t.Fatalf("%s: %d tasks in phases, of %d multiply-adds", what, phases, taps)
				}
				p.Prepare()
				p.RunDirections()
				p.RunPrimal()
				p.RunTangent()
				got := outputs(p, outs)
				if param {
					want = got
					continue
				}
				for o := range got {
					for j := range got[o] {
						for e, v := range got[o][j] {
							if d := math.Abs(v - want[o][j][e]); !(d <= 1e-12*(1+math.Abs(v))) {
								t.Fatalf("%s: output %d, direction %d: %v, want %v", what, o, j, v, want[o][j][e])
							}
						}
					}
				}
			}
		}
	}
}
