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

// opCase builds a function of some leaves.
type opCase struct {
	name  string
	build func(g *graph.Graph, r *rand.Rand) (out *graph.Node, leaves []*graph.Node)
	pos   bool // operands positive
}

func dims(r *rand.Rand, n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = 1 + r.IntN(5)
	}
	return s
}

func randomIDs(g *graph.Graph, r *rand.Rand, below int, shape ...int) *graph.Node {
	n := count(shape)
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(r.IntN(below))
	}
	return g.ConstInt(ids, shape...)
}

func unary(name string, pos bool, f func(g *graph.Graph, x *graph.Node) *graph.Node) opCase {
	return opCase{name: name, pos: pos, build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
		x := g.Param("x", dims(r, r.IntN(4))...)
		return f(g, x), []*graph.Node{x}
	}}
}

func binary(name string, pos bool, f func(g *graph.Graph, x, y *graph.Node) *graph.Node) opCase {
	return opCase{name: name, pos: pos, build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
		s := dims(r, 1+r.IntN(3))
		a, b := slices.Clone(s), slices.Clone(s)
		for i := range s { // broadcasting
			switch r.IntN(4) {
			case 0:
				a[i] = 1
			case 1:
				b[i] = 1
			}
		}
		b = b[r.IntN(len(b)):]
		x, y := g.Param("x", a...), g.Param("y", b...)
		return f(g, x, y), []*graph.Node{x, y}
	}}
}

func window(r *rand.Rand, groups int) graph.Window {
	d := 1 + r.IntN(3)
	w := graph.Window{Groups: groups}
	for range d {
		k, dil := 1+r.IntN(3), 1+r.IntN(2)
		low, high := r.IntN(2), r.IntN(2)
		if k == 1 {
			low, high = 0, 0
		}
		w.Size = append(w.Size, dil*(k-1)+1+r.IntN(4))
		w.Kernel, w.Dilation = append(w.Kernel, k), append(w.Dilation, dil)
		w.Stride = append(w.Stride, 1+r.IntN(3))
		w.Low, w.High = append(w.Low, low), append(w.High, high)
	}
	return w
}

func opCases() []opCase {
	cases := []opCase{
		unary("abs", true, (*graph.Graph).Abs), unary("relu", false, (*graph.Graph).Relu), unary("exp", false, (*graph.Graph).Exp),
		unary("log", true, (*graph.Graph).Log), unary("sqrt", true, (*graph.Graph).Sqrt), unary("rsqrt", true, (*graph.Graph).Rsqrt),
		unary("recip", true, (*graph.Graph).Recip), unary("tanh", false, (*graph.Graph).Tanh), unary("sigmoid", false, (*graph.Graph).Sigmoid),
		unary("softplus", false, (*graph.Graph).Softplus), unary("erf", false, (*graph.Graph).Erf), unary("sin", false, (*graph.Graph).Sin),
		unary("cos", false, (*graph.Graph).Cos), unary("atan", false, (*graph.Graph).Atan),
		unary("floor", false, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Mul(x, g.Floor(g.Scale(x, 3))) }),
		unary("round", false, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Mul(x, g.Round(g.Scale(x, 3))) }), unary("neg", false, (*graph.Graph).Neg),
		unary("powc", true, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.PowC(x, 2.5) }),
		unary("scale", false, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Scale(x, 1.7) }),
		unary("addc", false, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Exp(g.AddC(x, -0.3)) }),
		unary("gelu", false, (*graph.Graph).GELU), unary("gelutanh", false, (*graph.Graph).GELUTanh), unary("silu", false, (*graph.Graph).SiLU),
		unary("leakyrelu", false, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.LeakyRelu(g.Tanh(x), 0.1) }),
		unary("elu", false, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Elu(x, 0.7) }),
		binary("add", false, func(g *graph.Graph, x, y *graph.Node) *graph.Node { return g.Tanh(g.Add(x, y)) }),
		binary("sub", false, func(g *graph.Graph, x, y *graph.Node) *graph.Node { return g.Tanh(g.Sub(x, y)) }),
		binary("mul", false, (*graph.Graph).Mul), binary("div", true, (*graph.Graph).Div), binary("max", false, (*graph.Graph).Max),
		binary("min", false, (*graph.Graph).Min), binary("pow", true, (*graph.Graph).Pow),
		binary("where", false, func(g *graph.Graph, x, y *graph.Node) *graph.Node {
			return g.Where(g.Less(x, y), g.Mul(x, x), g.Sin(y))
		}),
		binary("shared", false, func(g *graph.Graph, x, y *graph.Node) *graph.Node {
			u := g.Tanh(g.Mul(x, y))
			return g.Add(g.Mul(u, g.Exp(u)), g.Mul(g.Sum(u, 0), x))
		}),
		{name: "reshape", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			shapes := [][]int{{4, 6}, {2, 12}, {24}, {2, 2, 6}, {4, 2, 3}, {3, 8}, {1, 24}, {24, 1}, {8, 3}, {6, 4}, {2, 3, 4}}
			x := g.Param("x", shapes[r.IntN(len(shapes))]...)
			y := g.Reshape(g.Tanh(x), shapes[r.IntN(len(shapes))]...)
			return g.Reshape(g.Sin(y), shapes[r.IntN(len(shapes))]...), []*graph.Node{x}
		}},
		{name: "transpose", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			x := g.Param("x", dims(r, 1+r.IntN(4))...)
			y := g.Transpose(g.Tanh(x), r.Perm(x.Rank())...)
			z := g.Reshape(y, y.Size())
			return g.Sin(z), []*graph.Node{x}
		}},
		{name: "slice", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			s := dims(r, 1+r.IntN(3))
			start, step, shape := make([]int, len(s)), make([]int, len(s)), make([]int, len(s))
			for i, d := range s {
				start[i], step[i] = r.IntN(d), 1+r.IntN(2)
				shape[i] = 1 + (d-1-start[i])/step[i]
				if r.IntN(3) == 0 {
					start[i] += (shape[i] - 1) * step[i]
					step[i] = -step[i]
				}
			}
			x := g.Param("x", s...)
			return g.Sin(g.Slice(g.Tanh(x), start, step, shape)), []*graph.Node{x}
		}},
		{name: "pad", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			s := dims(r, 1+r.IntN(3))
			low, high, between := make([]int, len(s)), make([]int, len(s)), make([]int, len(s))
			for i := range s {
				low[i], high[i], between[i] = r.IntN(3), r.IntN(3), r.IntN(2)
			}
			x := g.Param("x", s...)
			return g.Sin(g.Pad(g.Tanh(x), low, high, between)), []*graph.Node{x}
		}},
		{name: "concat", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			s := dims(r, 1+r.IntN(3))
			axis := r.IntN(len(s))
			t := slices.Clone(s)
			t[axis] = 1 + r.IntN(4)
			x, y := g.Param("x", s...), g.Param("y", t...)
			return g.Sin(g.Concat(axis, g.Tanh(x), y, g.Scale(g.Exp(x), 0.5))), []*graph.Node{x, y}
		}},
		{name: "sum", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			x := g.Param("x", dims(r, 1+r.IntN(4))...)
			axes := r.Perm(x.Rank())[:1+r.IntN(x.Rank())]
			return g.Sin(g.Sum(g.Tanh(x), axes...)), []*graph.Node{x}
		}},
		{name: "moments", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			x, b := g.Param("x", 3, 4, 2), g.Param("b", 2)
			return g.BatchNormBatch(g.Mul(x, x), b, b, 0.1), []*graph.Node{x, b}
		}},
		{name: "matmul", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			m, n, k := 1+r.IntN(6), 1+r.IntN(6), 1+r.IntN(6)
			batch := dims(r, r.IntN(3))
			ta, tb := r.IntN(2) == 0, r.IntN(2) == 0
			sa, sb := append(slices.Clone(batch), m, k), append(slices.Clone(batch), k, n)
			r0 := len(batch)
			if ta {
				sa[r0], sa[r0+1] = k, m
			}
			if tb {
				sb[r0], sb[r0+1] = n, k
			}
			x, y := g.Param("x", sa...), g.Param("y", sb...)
			return g.Tanh(g.MatMul(g.Sin(x), y, ta, tb)), []*graph.Node{x, y}
		}},
		{name: "matmul of views", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			x := g.Param("x", 6, 3*8)
			part := func(i int) *graph.Node {
				s := g.Slice(g.Tanh(x), []int{0, 8 * i}, nil, []int{6, 8})
				return g.Transpose(g.Reshape(s, 2, 3, 2, 4), 0, 2, 1, 3)
			}
			q, k, v := part(0), part(1), part(2)
			a := g.MatMul(g.Softmax(g.MatMul(q, k, false, true)), v, false, false)
			return g.Reshape(g.Transpose(a, 0, 2, 1, 3), 6, 8), []*graph.Node{x}
		}},
		{name: "rows", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			geo := g.Geometry(window(r, 1))
			x := g.Param("x", 2, geo.In, 3)
			return g.Sin(g.AvgPool(g.Tanh(x), geo, r.IntN(2) == 0)), []*graph.Node{x}
		}},
		{name: "maxpool", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			geo := g.Geometry(graph.Square(4, 5, 2+r.IntN(2), 1+r.IntN(2), r.IntN(2)))
			x := g.Param("x", 2, geo.In, 3)
			return g.Sin(g.MaxPool(g.Tanh(x), geo)), []*graph.Node{x}
		}},
		{name: "gather", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			x := g.Param("x", 4, 3)
			return g.Sin(g.Gather(g.Tanh(x), randomIDs(g, r, 4, dims(r, 1+r.IntN(2))...))), []*graph.Node{x}
		}},
		{name: "onehot", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			x := g.Param("x", 4)
			return g.Mul(g.Tanh(x), g.OneHot(randomIDs(g, r, 6, dims(r, 1+r.IntN(2))...), 4)), []*graph.Node{x} // 4 and 5 name nothing
		}},
		{name: "real", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			x := g.Param("x", 1)
			return g.Sin(g.Mul(x, g.Real(randomIDs(g, r, 4, dims(r, 1+r.IntN(2))...)))), []*graph.Node{x}
		}},
		{name: "softmax", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			x := g.Param("x", dims(r, 1+r.IntN(3))...)
			return g.Softmax(x), []*graph.Node{x}
		}},
		{name: "crossentropy", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			x := g.Param("x", 4, 3)
			return g.CrossEntropy(x, randomIDs(g, r, 3, 4)), []*graph.Node{x}
		}},
		{name: "losses", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			x, y := g.Param("x", 4, 3), g.Param("y", 4, 3)
			return g.Add(g.MSE(x, g.Tanh(y)), g.Add(g.BCEWithLogits(x, g.Sigmoid(y)), g.CrossEntropySoft(y, g.Softmax(x)))), []*graph.Node{x, y}
		}},
		{name: "layernorm", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			x, w, b := g.Param("x", 3, 4), g.Param("w", 4), g.Param("b", 4)
			return g.LayerNorm(x, w, b, 0.1), []*graph.Node{x, w, b}
		}},
		{name: "linear", build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			x, w, b := g.Param("x", 3, 4), g.Param("w", 5, 4), g.Param("b", 5)
			return g.Tanh(g.Linear(x, w, b)), []*graph.Node{x, w, b}
		}},
	}
	for _, groups := range []int{1, 2, 3} {
		cases = append(cases, opCase{name: fmt.Sprintf("conv of %d groups", groups), build: func(g *graph.Graph, r *rand.Rand) (*graph.Node, []*graph.Node) {
			geo := g.Geometry(window(r, groups))
			ci, co := 1+r.IntN(3), 1+r.IntN(3)
			x, w := g.Param("x", 2, geo.In, ci*groups), g.Param("w", geo.Taps, ci, co*groups)
			return g.Tanh(g.Conv(g.Sin(x), w, geo)), []*graph.Node{x, w}
		}})
	}
	return cases
}

// machine evaluates nodes of a graph at given leaf values, in float64 with k directions.
type machine struct {
	t    *testing.T
	pool *Pool
}

func (m machine) eval(outs []*graph.Node, leaves map[*graph.Node][]float64, dirs []map[*graph.Node][]float64) [][][]float64 {
	m.t.Helper()
	k := max(1, len(dirs))
	p, err := Compile[float64](outs, Options{Directions: k, Pool: m.pool})
	if err != nil {
		m.t.Fatal(err)
	}
	for n, v := range leaves {
		p.SetFloats(n, v)
	}
	for j, d := range dirs {
		for n, v := range d {
			p.SetDirection(n, j, v, 0, 1)
		}
	}
	p.Prepare()
	p.RunDirections()
	p.RunPrimal()
	p.RunTangent()
	res := make([][][]float64, len(outs))
	for i, o := range outs {
		for j := range k {
			dst := make([]float64, o.Size())
			p.MoveOutput(dst, i, j, true, 0, 1)
			res[i] = append(res[i], dst)
		}
	}
	return res
}

func dot(a, b []float64) float64 {
	var s float64
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

func randomVector(r *rand.Rand, n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = r.NormFloat64()
	}
	return v
}

// TestOperations holds, for every operation and random shapes: the directional derivative
// against a central difference; ⟨u, Jv⟩ = ⟨Jᵀu, v⟩; uᵀHv = vᵀHu for H the Hessian of ⟨c, f⟩; Hv
// against a difference of the gradient; and several directions at once against one at a time.
func TestOperations(t *testing.T) {
	const (
		h        = 1e-5
		tolDiff  = 1e-7 // truncation h², rounding ε/h, with derivatives of order 1 to 100
		tolExact = 1e-11
	)
	pool := NewPool(2)
	defer pool.Close()
	m := machine{t, pool}
	for _, c := range opCases() {
		t.Run(c.name, func(t *testing.T) {
			m := machine{t, m.pool}
			for trial := range 12 {
				r := rand.New(rand.NewPCG(uint64(trial), 7))
				g := graph.New()
				out, leaves := c.build(g, r)
				at := map[*graph.Node][]float64{}
				for _, l := range leaves {
					v := randomVector(r, l.Size())
					for i := range v {
						if c.pos {
							v[i] = 0.5 + math.Abs(v[i])
						}
					}
					at[l] = v
				}
				direction := func() map[*graph.Node][]float64 {
					d := map[*graph.Node][]float64{}
					for _, l := range leaves {
						d[g.Direction(l)] = randomVector(r, l.Size())
					}
					return d
				}
				shift := func(d map[*graph.Node][]float64, h float64) map[*graph.Node][]float64 {
					s := map[*graph.Node][]float64{}
					for _, l := range leaves {
						x := slices.Clone(at[l])
						for i, v := range d[g.Direction(l)] {
							x[i] += h * v
						}
						s[l] = x
					}
					return s
				}
				seeds := map[*graph.Node]*graph.Node{}
				for _, l := range leaves {
					seeds[l] = g.Direction(l)
				}
				fix := g.Const(randomVector(r, out.Size()), out.Shape()...)
				value := fix.Attr().(*graph.Values).F
				grad := graph.VJP([]*graph.Node{out}, []*graph.Node{fix}, leaves)
				outs := append([]*graph.Node{out}, graph.JVP([]*graph.Node{out}, seeds)...)
				hess := graph.JVP(orZero(g, grad, leaves), seeds)
				u, v, w := direction(), direction(), direction()
				nodes := slices.Concat(outs, orZero(g, grad, leaves), orZero(g, hess, leaves))
				all := m.eval(nodes, at, []map[*graph.Node][]float64{u, v, w})
				one := m.eval(nodes, at, []map[*graph.Node][]float64{v})
				for i := range all {
					if !slices.Equal(all[i][1], one[i][0]) {
						t.Fatalf("trial %d: %v: a direction's bits depend on its companions", trial, nodes[i])
					}
				}
				scale := 1.0
				for i := range all {
					for _, x := range all[i][1] {
						scale = max(scale, math.Abs(x))
					}
				}
				l := len(leaves)
				Jv, g0, Hv := all[1][1], all[2:2+l], all[2+l:]
				plus := m.eval(nodes, shift(v, h), []map[*graph.Node][]float64{v})
				minus := m.eval(nodes, shift(v, -h), []map[*graph.Node][]float64{v})
				kinks := strings.Contains("relu max min maxpool where leakyrelu elu abs", c.name)
				diff := func(what string, got, p, q []float64) {
					for i := range got {
						want := (p[i] - q[i]) / (2 * h)
						if !(math.Abs(got[i]-want) <= tolDiff*scale) && !kinks {
							t.Errorf("trial %d, %v: %s[%d] = %g, difference %g", trial, out, what, i, got[i], want)
							return
						}
					}
				}
				diff("Jv", Jv, plus[0][0], minus[0][0])
				var uHv, vHu, vg float64
				for i, leaf := range leaves {
					diff("Hv", Hv[i][1], plus[2+i][0], minus[2+i][0])
					uHv += dot(u[g.Direction(leaf)], Hv[i][1])
					vHu += dot(v[g.Direction(leaf)], Hv[i][0])
					vg += dot(v[g.Direction(leaf)], g0[i][0])
				}
				size := scale * float64(out.Size()+10)
				if !(math.Abs(uHv-vHu) <= tolExact*size*10) {
					t.Errorf("trial %d, %v: uᵀHv = %g, vᵀHu = %g", trial, out, uHv, vHu)
				}
				if !(math.Abs(vg-dot(value, Jv)) <= tolExact*size*10) {
					t.Errorf("trial %d, %v: ⟨Jᵀc, v⟩ = %g, ⟨c, Jv⟩ = %g", trial, out, vg, dot(value, Jv))
				}
			}
		})
	}
}

// orZero replaces derivatives that are zero by zeros.
func orZero(g *graph.Graph, ns, like []*graph.Node) []*graph.Node {
	out := slices.Clone(ns)
	for i, n := range ns {
		if n == nil {
			out[i] = g.Const(make([]float64, like[i].Size()), like[i].Shape()...)
		}
	}
	return out
}
