package exec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/graph"
)

// tasksOf counts the tasks of a type by stage.
func tasksOf[T Float](p *Program[T], name string) (n [numStages]int) {
	for s, stage := range p.stages {
		tasks := stage.tasks
		for _, task := range tasks {
			if group, ok := task.(*together); ok {
				tasks = append(slices.Clone(tasks), group.tasks...)
			}
		}
		for _, task := range tasks {
			if strings.HasPrefix(fmt.Sprintf("%T", task), "*exec."+name+"[") {
				n[s]++
			}
		}
	}
	return n
}

// twoLayers is a network of two convolutions of images h x w, and one of single taps beside the second if with is set.
func twoLayers(h, w int, with bool) opCase {
	return opCase{build: func(g *graph.Graph, _ *rand.Rand) (*graph.Node, []*graph.Node) {
		x := g.Param("x", 4, h*w, 9)
		u, v := g.Param("u", 9, 9, 12), g.Param("v", 9, 12, 17)
		geo := g.Geometry(graph.Square(h, w, 3, 1, 1))
		y := g.Tanh(g.Conv(x, u, geo))
		z := g.Conv(y, v, geo)
		leaves := []*graph.Node{x, u, v}
		if with {
			s := g.Param("s", 1, 12, 17)
			z = g.Add(z, g.Conv(y, s, g.Geometry(graph.Square(h, w, 1, 1, 0))))
			leaves = append(leaves, s)
		}
		return g.Tanh(g.Scale(z, 0.1)), leaves
	}}
}

// TestWinograd holds Winograd's tiles in networks against float64, which does without, and the symmetry of the Hessian: sums of
// both terms of a product rule, one term alone, a sum with another product, and sides that tiles do not fill.
func TestWinograd(t *testing.T) {
	const tol = 3e-6 // of the norm of an output
	for _, c := range []struct {
		h, w int
		with bool
	}{{8, 8, false}, {7, 10, true}, {14, 11, false}, {9, 16, true}} {
		r := rand.New(rand.NewPCG(uint64(c.h), 29))
		d := newDerivatives(twoLayers(c.h, c.w, c.with), r)
		// Parameters are weights and inputs alike; as in a Hessian, directions lead along the weights alone.
		along := func() leafValues {
			v := d.direction(r)
			clear(v[d.seeds[d.leaves[0]]])
			return v
		}
		v, w := along(), along()
		for _, threads := range []int{1, 3} {
			pool := NewPool(threads)
			want := evaluate[float64](t, pool, d.outs, d.at, v, w)
			got := evaluate[float32](t, pool, d.outs, d.at, v, w)
			for i := range want {
				for j := range want[i] {
					var diff, size float64
					for e, x := range want[i][j] {
						y := got[i][j][e] - x
						diff, size = diff+y*y, size+x*x
					}
					if !(math.Sqrt(diff) <= tol*math.Sqrt(size)) {
						t.Errorf("%v: %v is off by %g of %g", c, d.outs[i], math.Sqrt(diff), math.Sqrt(size))
					}
				}
			}
			var vw, wv, scale float64
			n := len(d.leaves)
			for i, l := range d.leaves {
				hv, hw := got[2+n+i][0], got[2+n+i][1]
				vw, wv = vw+dot(v[d.seeds[l]], hw), wv+dot(w[d.seeds[l]], hv)
				scale += math.Sqrt(dot(v[d.seeds[l]], v[d.seeds[l]]) * dot(hw, hw))
			}
			if !(math.Abs(vw-wv) <= 1e-6*scale) {
				t.Errorf("%v: vᵀHw = %g, wᵀHv = %g (scale %g)", c, vw, wv, scale)
			}
			pool.Close()
		}
	}
}

// TestWinogradTasks holds which convolutions Winograd's tiles compute, and that weights are transformed when they change.
func TestWinogradTasks(t *testing.T) {
	pool := NewPool(1)
	defer pool.Close()
	build := func(x []int, w []int, window graph.Window) []*graph.Node {
		g := graph.New()
		in, u := g.Input("x", graph.Float, x...), g.Param("w", w...)
		y := g.Tanh(g.Conv(g.Tanh(g.Mul(in, g.Param("s", x[2]))), u, g.Geometry(window)))
		seeds := map[*graph.Node]*graph.Node{}
		var params []*graph.Node
		for _, n := range g.Nodes() {
			if n.Op() == graph.OpParam {
				params = append(params, n)
				seeds[n] = g.Direction(n)
			}
		}
		grad := graph.VJP([]*graph.Node{y}, []*graph.Node{g.Const(slices.Repeat([]float64{1}, y.Size()), y.Shape()...)}, params)
		return graph.JVP(grad, seeds)
	}
	wide := graph.Square(8, 8, 3, 1, 1)
	wide.Dilation, wide.Low, wide.High = []int{2, 2}, []int{2, 2}, []int{2, 2}
	grouped := graph.Square(8, 8, 3, 1, 1)
	grouped.Groups = 2
	for _, c := range []struct {
		name   string
		x, w   []int
		window graph.Window
		want   bool
	}{
		{"usual", []int{3, 64, 8}, []int{9, 8, 16}, graph.Square(8, 8, 3, 1, 1), true},
		{"few tiles", []int{2, 64, 8}, []int{9, 8, 16}, graph.Square(8, 8, 3, 1, 1), false},
		{"tiles half empty", []int{9, 25, 8}, []int{9, 8, 16}, graph.Square(5, 5, 3, 1, 1), false},
		{"few channels", []int{3, 64, 8}, []int{9, 8, 7}, graph.Square(8, 8, 3, 1, 1), false},
		{"stride", []int{3, 64, 8}, []int{9, 8, 16}, graph.Square(8, 8, 3, 2, 1), false},
		{"no border", []int{3, 64, 8}, []int{9, 8, 16}, graph.Square(8, 8, 3, 1, 0), false},
		{"dilation", []int{3, 64, 8}, []int{9, 8, 16}, wide, false},
		{"groups", []int{3, 64, 8}, []int{9, 4, 16}, grouped, false},
		{"larger taps", []int{3, 64, 8}, []int{25, 8, 16}, graph.Square(8, 8, 5, 1, 2), false},
	} {
		outs := build(c.x, c.w, c.window)
		p, err := Compile[float32](outs, Options{Directions: 2, Pool: pool})
		if err != nil {
			t.Fatal(err)
		}
		q, err := Compile[float64](outs, Options{Directions: 2, Pool: pool})
		if err != nil {
			t.Fatal(err)
		}
		var want, none [numStages]int
		if c.want { // y' and the input's gradient; the weight's
			want[stageTangent] = 2
		}
		if got := tasksOf(p, "winograd"); got != want {
			t.Errorf("%s: %v tasks by stage, want %v", c.name, got, want)
		}
		if c.want {
			want[stageTangent] = 1
		}
		if got := tasksOf(p, "winogradW"); got != want {
			t.Errorf("%s: %v tasks of gradients by stage, want %v", c.name, got, want)
		}
		if c.want { // w and its reverse, and their directions
			want = [numStages]int{stageConst: 2, stageDirection: 2}
		}
		if got := tasksOf(p, "transformed"); got != want {
			t.Errorf("%s: weights transformed %v times by stage, want %v", c.name, got, want)
		}
		for _, name := range []string{"winograd", "winogradW", "transformed"} {
			if got := tasksOf(q, name); got != none {
				t.Errorf("%s: %s in float64", c.name, name)
			}
		}
	}
}

// TestWinogradCuts holds that parts of a weight gradient cover every channel and direction once, for any number of threads.
func TestWinogradCuts(t *testing.T) {
	for _, threads := range []int{1, 2, 7, 64} {
		pool := NewPool(threads)
		for _, shape := range [][3]int{{8, 8, 1}, {16, 16, 10}, {17, 30, 7}, {64, 64, 10}, {200, 512, 3}, {512, 512, 10}} {
			g := graph.New()
			cin, cout, k := shape[0], shape[1], shape[2]
			x, w := g.Input("x", graph.Float, 3, 64, cin), g.Param("w", 9, cin, cout)
			y := g.Conv(g.Mul(x, g.Param("s", cin)), w, g.Geometry(graph.Square(8, 8, 3, 1, 1)))
			grad := graph.VJP([]*graph.Node{g.Mul(y, y)}, []*graph.Node{g.Const(make([]float64, y.Size()), y.Shape()...)}, []*graph.Node{w})
			hv := graph.JVP(grad, map[*graph.Node]*graph.Node{w: g.Direction(w)})
			p, err := Compile[float32](hv, Options{Directions: k, Pool: pool})
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, task := range p.stages[stageTangent].tasks {
				c, ok := task.(*winogradW[float32])
				if !ok {
					continue
				}
				found = true
				if lo := (c.cuts - 1) * c.channels; lo >= cin || lo+c.channels < cin {
					t.Errorf("%v, %d threads: %d cuts of %d channels", shape, threads, c.cuts, c.channels)
				}
				if n := c.parts() / c.cuts; (n-1)*c.probes >= k || n*c.probes < k {
					t.Errorf("%v, %d threads: %d cuts of %d directions", shape, threads, n, c.probes)
				}
				if sums := 36 * c.probes * min(c.channels, cin) * cout; sums > winogradSums && c.probes*c.channels > 16 {
					t.Errorf("%v, %d threads: %d sums at once", shape, threads, sums)
				}
			}
			if !found {
				t.Errorf("%v: no weight gradient by tiles", shape)
			}
		}
		pool.Close()
	}
}
