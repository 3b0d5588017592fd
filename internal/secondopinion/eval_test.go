package secondopinion

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"hessdens/internal/graph"
)

// evaluate computes a node directly, in plain loops: what translations are held against.
func evaluate(n *graph.Node, p Problem) []float64 {
	vals := map[*graph.Node][]float64{}
	for _, n := range ancestors(n) {
		var in [][]float64
		for _, x := range n.Inputs() {
			in = append(in, vals[x])
		}
		vals[n] = evaluateOne(n, in, p)
	}
	return vals[n]
}

func strides(shape []int) []int {
	st := make([]int, len(shape))
	step := 1
	for i := len(shape) - 1; i >= 0; i-- {
		st[i], step = step, step*shape[i]
	}
	return st
}

// coordinates are the indices of element i.
func coordinates(i int, shape []int) []int {
	c := make([]int, len(shape))
	for a := len(shape) - 1; a >= 0; a-- {
		c[a], i = i%shape[a], i/shape[a]
	}
	return c
}

func offset(c, shape []int) int {
	o := 0
	for a, s := range strides(shape) {
		o += c[a] * s
	}
	return o
}

func evaluateOne(n *graph.Node, in [][]float64, p Problem) []float64 {
	out := make([]float64, n.Size())
	if n.Op().Pointwise() {
		c, _ := n.Attr().(float64)
		var x [3]float64
		for i := range out {
			for j := range in {
				x[j] = in[j][i]
			}
			out[i] = n.Op().Eval(x[0], x[1], x[2], c)
		}
		return out
	}
	var from []int
	if len(in) > 0 {
		from = n.Inputs()[0].Shape()
	}
	switch n.Op() {
	case graph.OpParam, graph.OpInput:
		if n.Kind() == graph.Int {
			return reals(p.Ints[n])
		}
		copy(out, p.Leaves[n])
	case graph.OpConst:
		copy(out, n.Attr().(*graph.Values).F)
		for i, v := range n.Attr().(*graph.Values).I {
			out[i] = float64(v)
		}
	case graph.OpReshape:
		copy(out, in[0])
	case graph.OpTranspose:
		perm := n.Attr().(graph.Perm)
		for i := range out {
			c := coordinates(i, n.Shape())
			d := make([]int, len(c))
			for a, q := range perm {
				d[q] = c[a]
			}
			out[i] = in[0][offset(d, from)]
		}
	case graph.OpBroadcast:
		for i := range out {
			c := coordinates(i, n.Shape())
			for a := range c {
				c[a] = min(c[a], from[a]-1)
			}
			out[i] = in[0][offset(c, from)]
		}
	case graph.OpSlice:
		a := n.Attr().(graph.SliceAttr)
		for i := range out {
			c := coordinates(i, n.Shape())
			for k := range c {
				c[k] = a.Start[k] + c[k]*a.Step[k]
			}
			out[i] = in[0][offset(c, from)]
		}
	case graph.OpPad:
		a := n.Attr().(graph.PadAttr)
		for i, v := range in[0] {
			c := coordinates(i, from)
			for k := range c {
				c[k] = a.Low[k] + c[k]*(a.Between[k]+1)
			}
			out[offset(c, n.Shape())] = v
		}
	case graph.OpConcat:
		axis, at := int(n.Attr().(graph.Axis)), 0
		for k, x := range n.Inputs() {
			for i, v := range in[k] {
				c := coordinates(i, x.Shape())
				c[axis] += at
				out[offset(c, n.Shape())] = v
			}
			at += x.Dim(axis)
		}
	case graph.OpSum:
		for i, v := range in[0] {
			c := coordinates(i, from)
			for _, a := range n.Attr().(graph.Axes) {
				c[a] = 0
			}
			out[offset(c, n.Shape())] += v
		}
	case graph.OpMatMul:
		a := n.Attr().(graph.MatMulAttr)
		r := n.Rank()
		k := from[r-1]
		if a.TransA {
			k = from[r-2]
		}
		for i := range out {
			c := coordinates(i, n.Shape())
			for l := range k {
				x, y := slices.Clone(c), slices.Clone(c)
				x[r-1], y[r-2] = l, l
				if a.TransA {
					x[r-1], x[r-2] = x[r-2], x[r-1]
				}
				if a.TransB {
					y[r-1], y[r-2] = y[r-2], y[r-1]
				}
				out[i] += in[0][offset(x, from)] * in[1][offset(y, n.Inputs()[1].Shape())]
			}
		}
	case graph.OpConv:
		geo := n.Attr().(*graph.Geometry)
		cin, each := from[2], from[2]/geo.Groups
		for i := range out {
			c := coordinates(i, n.Shape())
			group := c[2] / (n.Dim(2) / geo.Groups)
			for t := range geo.Taps {
				for k := range each {
					if q := int(geo.Index[c[1]*geo.Taps+t]); q >= 0 {
						out[i] += in[0][(c[0]*geo.In+q)*cin+group*each+k] * in[1][(t*each+k)*n.Dim(2)+c[2]]
					}
				}
			}
		}
	case graph.OpRows:
		s := n.Attr().(*graph.Sparse)
		for i := range out {
			c := coordinates(i, n.Shape())
			for e := s.Start[c[1]]; e < s.Start[c[1]+1]; e++ {
				out[i] += s.Val[e] * in[0][offset([]int{c[0], int(s.Col[e]), c[2]}, from)]
			}
		}
	case graph.OpArgMax:
		geo := n.Attr().(*graph.Geometry)
		for i := range out {
			c := coordinates(i, n.Shape())
			at := -1
			for t := range geo.Taps {
				q := int(geo.Index[c[1]*geo.Taps+t])
				if q >= 0 && (at < 0 || in[0][offset([]int{c[0], q, c[2]}, from)] > in[0][offset([]int{c[0], at, c[2]}, from)]) {
					at = q
				}
			}
			out[i] = float64(at)
		}
	case graph.OpTake:
		for i := range out {
			c := coordinates(i, n.Shape())
			out[i] = in[0][offset([]int{c[0], int(in[1][i]), c[2]}, from)]
		}
	case graph.OpGather:
		for i := range out {
			out[i] = in[0][int(in[1][i/from[1]])*from[1]+i%from[1]]
		}
	case graph.OpReal:
		copy(out, in[0])
	case graph.OpOneHot:
		for i, v := range in[0] {
			out[i*n.Dim(-1)+int(v)] = 1
		}
	default:
		panic("no evaluation of " + n.Op().String())
	}
	return out
}

// difference is the gradient of evaluate by central differences of fourth order.
func difference(p Problem, h float64) [][]float64 {
	var grads [][]float64
	for _, w := range p.Wrt {
		v := p.Leaves[w]
		grad := make([]float64, len(v))
		for i := range v {
			x := v[i]
			f := func(d float64) float64 {
				v[i] = x + d*h
				return evaluate(p.Loss, p)[0]
			}
			grad[i] = (8*(f(1)-f(-1)) - (f(2) - f(-2))) / (12 * h)
			v[i] = x
		}
		grads = append(grads, grad)
	}
	return grads
}

func norm(v []float64) float64 {
	s := 0.0
	for _, x := range v {
		s += x * x
	}
	return math.Sqrt(s)
}

// distance is |a - b| / max(|b|, floor).
func distance(a, b []float64, floor float64) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	d := make([]float64, len(a))
	for i := range a {
		d[i] = a[i] - b[i]
	}
	return norm(d) / math.Max(norm(b), floor)
}

const (
	valueTol = 1e-12
	// At h = 1e-3 the fourth-order difference is off by about h⁴ |f⁽⁵⁾|/30 and by ε/h.
	stepSize = 1e-3
	gradTol  = 1e-8
)

// check compares the value with evaluate and the gradients with its differences.
func check(t *testing.T, p Problem) {
	t.Helper()
	m, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	loss, grads, err := m.Gradient(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := evaluate(p.Loss, p)
	if d := distance([]float64{loss}, want, 1); !(d <= valueTol) {
		t.Errorf("loss %v, want %v", loss, want[0])
	}
	for i, w := range difference(p, stepSize) {
		if d := distance(grads[i], w, 1); !(d <= gradTol) {
			t.Errorf("gradient by %v is off by %.1e\ngot  %.6g\nwant %.6g", p.Wrt[i], d, grads[i], w)
		}
	}
	m2, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Machine{m, m2} {
		again, grads2, err := m.Gradient(nil)
		if err != nil || again != loss || fmt.Sprint(grads) != fmt.Sprint(grads2) {
			t.Errorf("a second run differs: %v %v, %v", again, grads2, err)
		}
	}
}

// problem draws leaves' values and weighs the elements of y, bent so that second factors of the
// chain rule matter, into a loss.
func problem(g *graph.Graph, y *graph.Node, rng *rand.Rand, draw func() float64) Problem {
	weights := make([]float64, y.Size())
	for i := range weights {
		weights[i] = 0.5 + rng.Float64()
	}
	y = g.Reshape(y, y.Size())
	loss := g.Sum(g.Mul(g.Tanh(g.Scale(y, 0.3)), g.Const(weights, y.Size())), 0)
	p := Problem{Loss: loss, Leaves: map[*graph.Node][]float64{}, Ints: map[*graph.Node][]int64{}}
	for _, n := range ancestors(loss) {
		if n.Op() != graph.OpParam && n.Op() != graph.OpInput || n.Kind() == graph.Int {
			continue
		}
		v := make([]float64, n.Size())
		for i := range v {
			v[i] = draw()
		}
		p.Leaves[n] = v
		p.Wrt = append(p.Wrt, n)
	}
	return p
}
