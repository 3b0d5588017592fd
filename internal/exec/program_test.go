package exec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/graph"
	"hessdens/internal/kernel"
)

// leafValues are values of leaves, or of directions along them.
type leafValues = map[*graph.Node][]float64

// evaluate runs a program of outs with one direction for each element of dirs (none: zero) and gives output i along
// direction j as [i][j].
func evaluate[T Float](t *testing.T, pool *Pool, outs []*graph.Node, leaves leafValues, dirs ...leafValues) [][][]float64 {
	t.Helper()
	p := compiled[T](t, pool, outs, leaves, dirs...)
	p.Prepare()
	p.RunDirections()
	p.RunPrimal()
	p.RunTangent()
	return outputs(p, outs)
}

// compiled is a program with its leaves set.
func compiled[T Float](t *testing.T, pool *Pool, outs []*graph.Node, leaves leafValues, dirs ...leafValues) *Program[T] {
	t.Helper()
	p, err := Compile[T](outs, Options{Directions: len(dirs), Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	for n, v := range leaves {
		p.SetFloats(n, v)
	}
	for j, d := range dirs {
		for n, v := range d {
			p.SetDirection(n, j, v, 0, 1)
		}
	}
	return p
}

func outputs[T Float](p *Program[T], outs []*graph.Node) [][][]float64 {
	res := make([][][]float64, len(outs))
	for i, o := range outs {
		for j := range p.k {
			dst := make([]float64, o.Size())
			p.MoveOutput(dst, i, j, true, 0, 1)
			res[i] = append(res[i], dst)
		}
	}
	return res
}

// sameBits says whether two results agree, NaN with NaN.
func sameBits(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(x, y float64) bool { return x == y || x != x && y != y })
}

// derivatives are what a case's function has: its value, its directional derivative, the gradient of ⟨c, f⟩ for a
// random c, and the directional derivative of that gradient.
type derivatives struct {
	g      *graph.Graph
	leaves []*graph.Node
	seeds  map[*graph.Node]*graph.Node
	grad   []*graph.Node
	outs   []*graph.Node // [f, Jv, gradient by leaves, Hv by leaves]
	at     leafValues
}

func newDerivatives(c opCase, r *rand.Rand) *derivatives {
	d := &derivatives{g: graph.New(), seeds: map[*graph.Node]*graph.Node{}, at: leafValues{}}
	var f *graph.Node
	f, d.leaves = c.build(d.g, r)
	for _, l := range d.leaves {
		d.seeds[l] = d.g.Direction(l)
		v := randomVector(r, l.Size())
		for i := range v {
			if c.pos {
				v[i] = 0.5 + math.Abs(v[i])
			}
			v[i] = float64(float32(v[i])) // the same point in both precisions
		}
		d.at[l] = v
	}
	cotangent := d.g.Const(randomVector(r, f.Size()), f.Shape()...)
	d.grad = orZero(d.g, graph.VJP([]*graph.Node{f}, []*graph.Node{cotangent}, d.leaves), d.leaves)
	d.outs = slices.Concat([]*graph.Node{f}, orZero(d.g, graph.JVP([]*graph.Node{f}, d.seeds), []*graph.Node{f}),
		d.grad, orZero(d.g, graph.JVP(d.grad, d.seeds), d.leaves))
	return d
}

// direction is a random one along all leaves.
func (d *derivatives) direction(r *rand.Rand) leafValues {
	v := leafValues{}
	for _, l := range d.leaves {
		x := randomVector(r, l.Size())
		for i := range x {
			x[i] = float64(float32(x[i]))
		}
		v[d.seeds[l]] = x
	}
	return v
}

// moved is the point a step h along v.
func (d *derivatives) moved(v leafValues, h float64) leafValues {
	at := leafValues{}
	for _, l := range d.leaves {
		x := slices.Clone(d.at[l])
		for i, s := range v[d.seeds[l]] {
			x[i] += h * s
		}
		at[l] = x
	}
	return at
}

// largest is the largest magnitude of all outputs, 1 at least.
func largest(outs [][][]float64) float64 {
	scale := 1.0
	for _, o := range outs {
		for _, v := range o {
			for _, x := range v {
				scale = max(scale, math.Abs(x))
			}
		}
	}
	return scale
}

// TestFloat32 holds every operation and its derivatives in float32 against float64.
func TestFloat32(t *testing.T) {
	const tol = 50 * 0x1p-24 // of the largest value: some roundings, amplified by condition
	pool := NewPool(2)
	defer pool.Close()
	for _, c := range opCases() {
		t.Run(c.name, func(t *testing.T) {
			worst := 0.0
			for trial := range 12 {
				r := rand.New(rand.NewPCG(uint64(trial), 11))
				d := newDerivatives(c, r)
				v, w := d.direction(r), d.direction(r)
				got := evaluate[float32](t, pool, d.outs, d.at, v, w)
				want := evaluate[float64](t, pool, d.outs, d.at, v, w)
				scale := largest(want)
				for i := range want {
					for j := range want[i] {
						for e, x := range want[i][j] {
							diff := math.Abs(got[i][j][e] - x)
							worst = max(worst, diff/scale)
							if !(diff <= tol*scale) {
								t.Fatalf("trial %d, %v: direction %d, element %d is %g, in float64 %g", trial, d.outs[i], j, e, got[i][j][e], x)
							}
						}
					}
				}
			}
			t.Logf("furthest off: %.1e of the largest value", worst)
		})
	}
}

// TestThirdDerivative holds that derivatives have derivatives: that of Hv along w, v fixed, against a central
// difference, and its symmetry in v and w.
func TestThirdDerivative(t *testing.T) {
	const (
		h        = 1e-5
		tolDiff  = 1e-6 // of the largest value: h² times a fifth derivative, ε/h
		tolExact = 1e-10
	)
	pool := NewPool(2)
	defer pool.Close()
	for _, c := range opCases() {
		t.Run(c.name, func(t *testing.T) {
			for trial := range 4 {
				r := rand.New(rand.NewPCG(uint64(trial), 13))
				d := newDerivatives(c, r)
				fixed := map[*graph.Node]*graph.Node{}
				for i, l := range d.leaves {
					fixed[l] = d.g.Param(fmt.Sprint("v", i), l.Shape()...)
				}
				hv := orZero(d.g, graph.JVP(d.grad, fixed), d.leaves)
				third := orZero(d.g, graph.JVP(hv, d.seeds), d.leaves)
				outs := slices.Concat(hv, third)
				v, w := d.direction(r), d.direction(r)
				run := func(at, along, dir leafValues) [][][]float64 {
					leaves := leafValues{}
					for _, l := range d.leaves {
						leaves[l], leaves[fixed[l]] = at[l], along[d.seeds[l]]
					}
					return evaluate[float64](t, pool, outs, leaves, dir)
				}
				got, turned := run(d.at, v, w), run(d.at, w, v)
				plus, minus := run(d.moved(w, h), v, w), run(d.moved(w, -h), v, w)
				n := len(d.leaves)
				scale := max(largest(got), largest(plus))
				kinks := len(graph.Kinks(d.outs...)) > 0
				for i := range n {
					for e, x := range got[n+i][0] {
						want := (plus[i][0][e] - minus[i][0][e]) / (2 * h)
						if !(math.Abs(x-want) <= tolDiff*scale) && !kinks {
							t.Fatalf("trial %d, %v: element %d is %g, difference %g", trial, third[i], e, x, want)
						}
						if y := turned[n+i][0][e]; !(math.Abs(x-y) <= tolExact*scale) {
							t.Fatalf("trial %d, %v: element %d is %g, with the directions exchanged %g", trial, third[i], e, x, y)
						}
					}
				}
			}
		})
	}
}

// largeCase is a function on shapes that the tasks it names (by type) cut into several parts.
type largeCase struct {
	opCase
	cut []string
}

func largeCases() []largeCase {
	two := func(name string, x, y []int, cut []string, f func(g *graph.Graph, x, y *graph.Node) *graph.Node) largeCase {
		return largeCase{opCase{name: name, build: func(g *graph.Graph, _ *rand.Rand) (*graph.Node, []*graph.Node) {
			p, q := g.Param("x", x...), g.Param("y", y...)
			return f(g, p, q), []*graph.Node{p, q}
		}}, cut}
	}
	product := func(g *graph.Graph, x, y *graph.Node) *graph.Node { return g.MatMul(g.Tanh(x), y, false, false) }
	convolution := func(w graph.Window) func(g *graph.Graph, x, y *graph.Node) *graph.Node {
		return func(g *graph.Graph, x, y *graph.Node) *graph.Node { return g.Conv(g.Tanh(x), y, g.Geometry(w)) }
	}
	grouped := graph.Square(12, 12, 3, 1, 1)
	grouped.Groups = 3
	ids := func(g *graph.Graph, n, below int) *graph.Node {
		return randomIDs(g, rand.New(rand.NewPCG(3, 3)), below, n)
	}
	return []largeCase{
		two("chain", []int{70001}, []int{70001}, []string{"chain"}, func(g *graph.Graph, x, y *graph.Node) *graph.Node {
			u := g.Tanh(g.Mul(x, y))
			return g.Add(g.Mul(u, g.Sin(x)), y)
		}),
		two("chain with repeated operands", []int{900, 77}, []int{77}, []string{"chain"}, func(g *graph.Graph, x, y *graph.Node) *graph.Node {
			return g.Tanh(g.Add(g.Mul(x, y), g.Transpose(g.Reshape(g.Sin(x), 77, 900), 1, 0)))
		}),
		two("sum of rows", []int{500, 300}, []int{300}, []string{"chain"}, func(g *graph.Graph, x, y *graph.Node) *graph.Node {
			return g.Sin(g.Scale(g.Sum(g.Mul(g.Tanh(x), y), 1), 0.05))
		}),
		two("sum of columns", []int{6000, 50}, []int{50}, []string{"chain"}, func(g *graph.Graph, x, y *graph.Node) *graph.Node {
			return g.Sin(g.Scale(g.Sum(g.Mul(g.Tanh(x), y), 0), 0.01))
		}),
		two("sums of a product", []int{2000, 30}, []int{30, 50}, []string{"matmul", "sum"}, func(g *graph.Graph, x, y *graph.Node) *graph.Node {
			u := g.MatMul(x, y, false, false)
			return g.Mul(g.Sin(g.Scale(g.Sum(u, 0), 0.01)), g.Sum(u, 1))
		}),
		two("sum in the middle", []int{8, 3000, 32}, []int{32}, []string{"sum"}, func(g *graph.Graph, x, y *graph.Node) *graph.Node {
			return g.Sin(g.Scale(g.Sum(g.Mul(g.Tanh(x), y), 1), 0.01))
		}),
		two("rows of a product", []int{300, 200}, []int{200, 260}, []string{"matmul"}, product),
		two("columns of a product", []int{50, 100}, []int{100, 2000}, []string{"matmul"}, product),
		two("many products", []int{60, 24, 32}, []int{60, 32, 40}, []string{"matmul"}, product),
		two("long product", []int{110, 8200}, []int{8200, 100}, []string{"matmul", "total"}, func(g *graph.Graph, x, y *graph.Node) *graph.Node {
			return g.Scale(g.MatMul(x, y, false, false), 0.01)
		}),
		two("convolution of many images", []int{21, 144, 8}, []int{9, 8, 16}, []string{"conv", "convW"}, convolution(graph.Square(12, 12, 3, 1, 1))),
		two("convolution of large images", []int{2, 32 * 32, 16}, []int{9, 16, 16}, []string{"conv", "convW"}, convolution(graph.Square(32, 32, 3, 1, 1))),
		two("convolution with stride", []int{9, 32 * 32, 4}, []int{9, 4, 16}, []string{"conv", "convW"}, convolution(graph.Square(32, 32, 3, 2, 1))),
		two("convolution of one tap", []int{21, 144, 80}, []int{1, 80, 8}, []string{"conv", "convW"}, convolution(graph.Square(12, 12, 1, 1, 0))),
		two("convolution of groups", []int{21, 144, 6}, []int{9, 2, 9}, []string{"conv", "convW"}, convolution(grouped)),
		two("rows of a table", []int{300, 50}, []int{50}, []string{"gatherRows"}, func(g *graph.Graph, x, y *graph.Node) *graph.Node {
			return g.Mul(g.Tanh(g.Gather(x, ids(g, 4000, 300))), y)
		}),
		two("pooling", []int{40, 144, 16}, []int{16}, []string{"take", "argMax", "rows"}, func(g *graph.Graph, x, y *graph.Node) *graph.Node {
			geo := g.Geometry(graph.Square(12, 12, 2, 2, 0))
			u := g.Mul(g.Tanh(x), y)
			return g.Mul(g.MaxPool(u, geo), g.AvgPool(u, geo, true))
		}),
	}
}

// TestThreads holds, for work that is cut into many parts where threads share it: the same bits from any number of threads and for a
// direction whatever its companions, in both precisions; and ⟨u, Hv⟩ against a difference of the gradient.
func TestThreads(t *testing.T) {
	for _, c := range largeCases() {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 17))
			d := newDerivatives(c.opCase, r)
			u, v, w := d.direction(r), d.direction(r), d.direction(r)
			narrow := testThreads[float32](t, c, d, u, v, w)
			if testing.Short() {
				return
			}
			wide := testThreads[float64](t, c, d, u, v, w)
			const tol32 = 1e-4
			for i := range wide {
				var diff, size float64
				for e, x := range wide[i][1] {
					y := narrow[i][1][e] - x
					diff, size = diff+y*y, size+x*x
				}
				if !(math.Sqrt(diff) <= tol32*math.Sqrt(size)) {
					t.Errorf("%v: float32 is off by %g of %g", d.outs[i], math.Sqrt(diff), math.Sqrt(size))
				}
			}

			const h, tol = 1e-6, 1e-6
			pool := NewPool(2)
			defer pool.Close()
			plus := evaluate[float64](t, pool, d.outs, d.moved(v, h), v)
			minus := evaluate[float64](t, pool, d.outs, d.moved(v, -h), v)
			n := len(d.leaves)
			var got, want, scale float64
			for i, l := range d.leaves {
				uu := u[d.seeds[l]]
				got += dot(uu, wide[2+n+i][1])
				want += (dot(uu, plus[2+i][0]) - dot(uu, minus[2+i][0])) / (2 * h)
				scale += math.Sqrt(dot(uu, uu) * dot(wide[2+n+i][1], wide[2+n+i][1]))
			}
			if !(math.Abs(got-want) <= tol*scale) {
				t.Errorf("uᵀHv = %g, difference %g (scale %g)", got, want, scale)
			}
		})
	}
}

func testThreads[T Float](t *testing.T, c largeCase, d *derivatives, dirs ...leafValues) [][][]float64 {
	t.Helper()
	var want [][][]float64
	for _, threads := range []int{1, 3, 2} {
		if testing.Short() && threads == 2 {
			break
		}
		pool := NewPool(threads)
		p := compiled[T](t, pool, d.outs, d.at, dirs...)
		if threads == 3 {
			for _, name := range c.cut {
				if !hasParts(p, name) {
					t.Errorf("no task %s of several parts", name)
				}
			}
		}
		for range 2 { // the second time in used buffers
			p.Prepare()
			p.RunDirections()
			p.RunPrimal()
			p.RunTangent()
		}
		got := outputs(p, d.outs)
		if want == nil {
			want = got
			for i, alone := range evaluate[T](t, pool, d.outs, d.at, dirs[1]) {
				if !sameBits(alone[0], want[i][1]) {
					t.Errorf("%v: other bits for one direction alone", d.outs[i])
				}
			}
		}
		pool.Close()
		for i := range got {
			for j := range got[i] {
				if !sameBits(got[i][j], want[i][j]) {
					t.Errorf("%v: other bits from %d threads", d.outs[i], threads)
				}
			}
		}
	}
	return want
}

// hasParts says whether a task of a type has more than one part.
func hasParts[T Float](p *Program[T], name string) bool {
	for _, stage := range p.stages {
		for _, task := range stage.tasks {
			if strings.HasPrefix(fmt.Sprintf("%T", task), "*exec."+name+"[") && task.parts() > 1 {
				return true
			}
		}
	}
	return false
}

// randomGraph makes a graph of pointwise operations, of sums over channels, of views, and of paddings, which end a chain, with
// every node that it made.
func randomGraph(g *graph.Graph, r *rand.Rand, leaves ...*graph.Node) []*graph.Node {
	pool := slices.Clone(leaves)
	pick := func() *graph.Node { return pool[len(pool)-1-min(r.IntN(len(pool)), r.IntN(len(pool)))] }
	pair := func() (x, y *graph.Node) {
		for {
			x, y = pick(), pick()
			if slices.Equal(x.Shape(), y.Shape()) || r.IntN(4) == 0 && x.Dim(1) == y.Dim(1) && (x.Dim(0) == 1 || y.Dim(0) == 1) {
				return x, y
			}
		}
	}
	for range 12 + r.IntN(30) {
		var n *graph.Node
		switch r.IntN(16) {
		case 0:
			n = g.Tanh(pick())
		case 1:
			n = g.Sigmoid(pick())
		case 2:
			n = g.Relu(pick())
		case 3:
			n = g.Scale(pick(), r.NormFloat64())
		case 4:
			n = g.AddC(pick(), r.NormFloat64())
		case 5:
			n = g.Add(pair())
		case 6:
			n = g.Sub(pair())
		case 7:
			n = g.Mul(pair())
		case 8:
			n = g.Max(pair())
		case 9:
			x, y := pair()
			n = g.Where(g.Step(x), y, g.Exp(g.Scale(g.Mul(y, y), -1)))
		case 10:
			x := pick()
			n = g.Transpose(g.Reshape(x, x.Dim(1), x.Dim(0)), 1, 0)
		case 11:
			x := pick()
			start, step := []int{x.Dim(0) - 1, 0}, []int{-1, 1}
			n = g.Slice(x, start, step, x.Shape())
		case 12: // moved down by one row
			x := pick()
			n = g.Slice(g.Pad(x, []int{1, 0}, []int{0, 0}, nil), []int{0, 0}, nil, x.Shape())
		case 13:
			x := pick()
			n = g.Mul(x, g.Sigmoid(g.Sum(x, -1)))
		case 14:
			x := pick()
			n = g.Sub(x, g.Mean(x, -1))
		default:
			x := pick()
			n = g.Div(x, g.AddC(g.Mul(x, x), 0.5))
		}
		pool = append(pool, n)
	}
	return pool[len(leaves):]
}

// reference holds values of nodes by the definitions of their operations, at given values of leaves.
type reference map[*graph.Node][]float64

func (ref reference) of(t *testing.T, n *graph.Node) []float64 {
	if v, ok := ref[n]; ok {
		return v
	}
	var in [3][]float64
	for i, x := range n.Inputs() {
		in[i] = ref.of(t, x)
	}
	out := make([]float64, n.Size())
	at := make([]int, n.Rank())
	index := func(shape, at []int) int { // -1 outside
		i := 0
		for a, s := range shape {
			if at[a] < 0 || at[a] >= s {
				return -1
			}
			i = i*s + at[a]
		}
		return i
	}
	for e := range out {
		rest := e
		for a := n.Rank() - 1; a >= 0; a-- {
			at[a] = rest % n.Dim(a)
			rest /= n.Dim(a)
		}
		from := slices.Clone(at)
		switch op := n.Op(); {
		case op.Pointwise():
			var x [3]float64
			for i := range n.Inputs() {
				x[i] = in[i][e]
			}
			c, _ := n.Attr().(float64)
			out[e] = op.Eval(x[0], x[1], x[2], c)
			continue
		case op == graph.OpConst:
			out[e] = n.Attr().(*graph.Values).F[e]
			continue
		case op == graph.OpReshape:
			out[e] = in[0][e]
			continue
		case op == graph.OpBroadcast:
			for a := range from {
				from[a] = min(at[a], n.Inputs()[0].Dim(a)-1)
			}
		case op == graph.OpSum:
			if axes := n.Attr().(graph.Axes); len(axes) != 1 || axes[0] != n.Rank()-1 {
				t.Fatal("a sum over other axes than the last is not in the reference")
			}
			cols := n.Inputs()[0].Dim(-1)
			out[e] = kernel.Sum(in[0][e*cols:(e+1)*cols], 1)
			continue
		case op == graph.OpTranspose:
			for i, p := range n.Attr().(graph.Perm) {
				from[p] = at[i]
			}
		case op == graph.OpSlice:
			s := n.Attr().(graph.SliceAttr)
			for a := range from {
				from[a] = s.Start[a] + at[a]*s.Step[a]
			}
		case op == graph.OpPad:
			p := n.Attr().(graph.PadAttr)
			for a := range from {
				from[a] = at[a] - p.Low[a]
				if p.Between[a] > 0 {
					t.Fatal("a padding between is not in the reference")
				}
			}
		default:
			t.Fatalf("%v is not in the reference", n)
		}
		if i := index(n.Inputs()[0].Shape(), from); i >= 0 {
			out[e] = in[0][i]
		}
	}
	ref[n] = out
	return out
}

// TestChains holds random graphs of pointwise operations, which are fused and whose buffers are shared, against
// evaluation one operation at a time; then with every value kept, and in memory that is NaN before.
func TestChains(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	trials := 60
	if testing.Short() {
		trials = 11
	}
	fused, shared := 0, 0
	for trial := range trials {
		r := rand.New(rand.NewPCG(uint64(trial), 19))
		g := graph.New()
		rows, cols := 2+r.IntN(6), 1+r.IntN(9)
		if trial%10 == 0 { // several blocks of several parts
			rows, cols = 40+r.IntN(40), 1000
		}
		x, y, b := g.Input("x", graph.Float, rows, cols), g.Param("y", rows, cols), g.Param("b", 1, cols)
		leaves := []*graph.Node{x, y, b}
		nodes := randomGraph(g, r, leaves...)
		seeds := map[*graph.Node]*graph.Node{y: g.Direction(y), b: g.Direction(b)}
		ends := []*graph.Node{nodes[len(nodes)-1], nodes[len(nodes)-2]}
		outs := slices.Concat(ends, orZero(g, graph.JVP(ends, seeds), ends))
		at := leafValues{}
		for _, l := range leaves {
			at[l] = randomVector(r, l.Size())
		}
		var dirs []leafValues
		for range 3 {
			dirs = append(dirs, leafValues{seeds[y]: randomVector(r, y.Size()), seeds[b]: randomVector(r, b.Size())})
		}

		p := compiled[float64](t, pool, outs, at, dirs...)
		for i := range p.arena[stageTangent] { // nothing is read before it is written
			p.arena[stageTangent][i] = math.NaN()
		}
		for range 2 {
			p.Prepare()
			p.RunDirections()
			p.RunPrimal()
			p.RunTangent()
		}
		got := outputs(p, outs)
		for _, tasks := range p.stages {
			for _, task := range tasks.tasks {
				if c, ok := task.(*chain[float64]); ok && c.slots > len(c.in)+2 {
					fused++
				}
			}
		}
		for j, dir := range dirs {
			ref := reference{}
			for _, m := range []leafValues{at, dir} {
				for n, v := range m {
					ref[n] = v
				}
			}
			for i, o := range outs {
				if want := ref.of(t, o); !sameBits(got[i][j], want) {
					t.Fatalf("trial %d, direction %d: %v differs from its definition", trial, j, o)
				}
			}
		}

		var all []*graph.Node
		for id, live := range graph.Ancestors(outs...) {
			if live {
				all = append(all, g.Nodes()[id])
			}
		}
		all = append(all, outs...)
		keeping := compiled[float64](t, pool, all, at, dirs...)
		keeping.Prepare()
		keeping.RunDirections()
		keeping.RunPrimal()
		keeping.RunTangent()
		kept := outputs(keeping, all)[len(all)-len(outs):]
		for i := range outs {
			for j := range dirs {
				if !sameBits(got[i][j], kept[i][j]) {
					t.Fatalf("trial %d: %v differs when every value is kept", trial, outs[i])
				}
			}
		}
		if p.Bytes() < keeping.Bytes() {
			shared++
		}
	}
	if fused < trials || shared < trials/2 {
		t.Errorf("%d chains of several operations, %d programs that share memory: too few to test anything", fused, shared)
	}
}

// TestOneChain holds that what a normalisation does to derivatives is one pass over them, sums over channels included, and that only
// what is read as a whole is written: a multiple of a derivative that is in memory is computed where it is read.
func TestOneChain(t *testing.T) {
	pool := NewPool(1)
	defer pool.Close()
	for _, c := range []struct {
		name string
		of   func(g *graph.Graph, d, x *graph.Node) *graph.Node // of a derivative d and what depends on no direction
		want int                                                // chains, each of which writes one array
	}{
		{"centred", func(g *graph.Graph, d, x *graph.Node) *graph.Node {
			c := g.Mul(x, g.Sub(d, g.Mean(d, -1)))
			return g.Sub(c, g.Mul(x, g.Scale(g.Sum(g.Mul(x, c), -1), 0.5)))
		}, 1},
		{"multiple", func(g *graph.Graph, d, x *graph.Node) *graph.Node {
			m := g.Mul(x, d)
			y := g.MatMul(g.Add(m, g.Sum(m, -1)), x, false, true)
			return g.Add(g.MatMul(y, x, false, false), g.Mul(g.Tanh(x), m))
		}, 2},
	} {
		r := rand.New(rand.NewPCG(5, 5))
		g := graph.New()
		in, x, w := g.Input("in", graph.Float, 30, 10), g.Input("x", graph.Float, 30, 20), g.Direction(g.Param("w", 10, 20))
		y := c.of(g, g.MatMul(in, w, false, false), x)
		p := compiled[float32](t, pool, []*graph.Node{y}, leafValues{in: randomVector(r, 300), x: randomVector(r, 600)}, leafValues{w: randomVector(r, 200)}, leafValues{w: randomVector(r, 200)})
		chains, written := 0, 0
		for _, task := range p.stages[stageTangent].tasks {
			if c, ok := task.(*chain[float32]); ok {
				chains++
				written += len(c.out)
			}
		}
		if chains != c.want || written != c.want {
			t.Errorf("%s: %d chains write %d arrays, want %d", c.name, chains, written, c.want)
		}
	}
}

// TestPlan holds that programs over all operations give the same bits when every value is kept.
func TestPlan(t *testing.T) {
	pool := NewPool(1)
	defer pool.Close()
	for _, c := range opCases() {
		for trial := range 4 {
			r := rand.New(rand.NewPCG(uint64(trial), 23))
			d := newDerivatives(c, r)
			v, w := d.direction(r), d.direction(r)
			got := evaluate[float64](t, pool, d.outs, d.at, v, w)
			all := slices.Clone(d.outs)
			for id, live := range graph.Ancestors(d.outs...) {
				if n := d.g.Nodes()[id]; live && n.Kind() == graph.Float {
					all = append(all, n)
				}
			}
			kept := evaluate[float64](t, pool, all, d.at, v, w)
			for i := range got {
				for j := range got[i] {
					if !sameBits(got[i][j], kept[i][j]) {
						t.Errorf("%s, trial %d: %v differs when every value is kept", c.name, trial, d.outs[i])
					}
				}
			}
		}
	}
}

// TestNoAllocations holds that a program that has run once runs without asking for memory.
func TestNoAllocations(t *testing.T) {
	for _, threads := range []int{1, 2} {
		pool := NewPool(threads)
		defer pool.Close()
		for i, c := range largeCases() {
			if testing.Short() && i%4 != threads {
				continue
			}
			r := rand.New(rand.NewPCG(1, 29))
			d := newDerivatives(c.opCase, r)
			p := compiled[float32](t, pool, d.outs, d.at, d.direction(r), d.direction(r))
			p.Prepare()
			p.RunDirections()
			for range 4 { // until every thread has had every kind of part
				p.RunPrimal()
				p.RunTangent()
			}
			if n := testing.AllocsPerRun(3, p.RunPrimal); n > 0 {
				t.Errorf("%s: %v allocations in the primal part (%d threads)", c.name, n, threads)
			}
			if n := testing.AllocsPerRun(3, p.RunTangent); n > 0 {
				t.Errorf("%s: %v allocations in the tangent part (%d threads)", c.name, n, threads)
			}
		}
	}
}

// TestCompileErrors holds that a tensor without elements is an error.
func TestCompileErrors(t *testing.T) {
	g := graph.New()
	if _, err := Compile[float64]([]*graph.Node{g.Tanh(g.Param("x", 3, 0))}, Options{Pool: NewPool(1)}); err == nil {
		t.Error("a tensor of no elements: no error")
	}
}
