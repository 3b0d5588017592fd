package onnx

import (
	"math"
	"slices"

	"hessdens/internal/graph"
)

// reduction is an operator over axes: for constants the start, the step and the end of a loop, else nodes over the
// axes of a node, which stay with size 1.
type reduction struct {
	zero float64
	step func(acc, x float64) float64
	end  func(acc float64, n int) float64
	node func(b *builder, x *graph.Node, axes []int) *graph.Node
}

func reduceOperators() map[string]operator {
	same := func(acc float64, _ int) float64 { return acc }
	add := func(acc, x float64) float64 { return acc + x }
	sumOf := func(f func(g *graph.Graph, x *graph.Node) *graph.Node, h func(g *graph.Graph, x *graph.Node) *graph.Node) func(b *builder, x *graph.Node, axes []int) *graph.Node {
		return func(b *builder, x *graph.Node, axes []int) *graph.Node {
			if f != nil {
				x = f(b.g, x)
			}
			x = b.g.Sum(x, axes...)
			if h != nil {
				x = h(b.g, x)
			}
			return x
		}
	}
	square := func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Mul(x, x) }
	m := map[string]operator{}
	for name, r := range map[string]reduction{
		"ReduceSum":  {0, add, same, sumOf(nil, nil)},
		"ReduceMean": {0, add, func(acc float64, n int) float64 { return acc / float64(n) }, func(b *builder, x *graph.Node, axes []int) *graph.Node { return b.g.Mean(x, axes...) }},
		"ReduceMax":  {math.Inf(-1), math.Max, same, func(b *builder, x *graph.Node, axes []int) *graph.Node { return b.largest(x, axes) }},
		"ReduceMin":  {math.Inf(1), math.Min, same, func(b *builder, x *graph.Node, axes []int) *graph.Node { return b.g.Neg(b.largest(b.g.Neg(x), axes)) }},
		"ReduceProd": {1, func(acc, x float64) float64 { return acc * x }, same, func(b *builder, x *graph.Node, axes []int) *graph.Node { return b.product(x, axes) }},
		"ReduceL1":   {0, func(acc, x float64) float64 { return acc + math.Abs(x) }, same, sumOf((*graph.Graph).Abs, nil)},
		"ReduceL2": {0, func(acc, x float64) float64 { return acc + x*x }, func(acc float64, _ int) float64 { return math.Sqrt(acc) },
			sumOf(square, (*graph.Graph).Sqrt)},
		"ReduceSumSquare": {0, func(acc, x float64) float64 { return acc + x*x }, same, sumOf(square, nil)},
		"ReduceLogSum":    {0, add, func(acc float64, _ int) float64 { return math.Log(acc) }, sumOf(nil, (*graph.Graph).Log)},
		"ReduceLogSumExp": {0, func(acc, x float64) float64 { return acc + math.Exp(x) }, func(acc float64, _ int) float64 { return math.Log(acc) }, logSumExp},
	} {
		m[name] = one(1, func(b *builder, n *node, in []*value) *value { return b.reduce(n, in, r) })
	}
	m["ArgMax"] = one(1, func(b *builder, n *node, in []*value) *value { return b.argExtreme(n, in[0], true) })
	m["ArgMin"] = one(1, func(b *builder, n *node, in []*value) *value { return b.argExtreme(n, in[0], false) })
	m["TopK"] = operator{least: 1, build: topK}
	return m
}

func (b *builder) reduce(n *node, in []*value, r reduction) *value {
	x := in[0]
	given, ok := b.axesOf(n, in, 1)
	if !ok || len(given) == 0 {
		if n.int("noop_with_empty_axes", 0) != 0 {
			given = nil
			if n.op == "ReduceSum" || n.op == "ReduceMean" || n.op == "ReduceMax" || n.op == "ReduceMin" || n.op == "ReduceProd" {
				return x
			}
		} else {
			given = nil
			for i := range x.rank() {
				given = append(given, i)
			}
		}
	}
	axes := b.axes(given, x.rank())
	slices.Sort(axes)
	keep := n.int("keepdims", 1) != 0
	var shape, ones []int
	for i, s := range x.shape {
		gone := slices.Contains(axes, i)
		if gone {
			s = 1
		}
		ones = append(ones, s)
		if !gone || keep {
			shape = append(shape, s)
		}
	}
	if x.c != nil {
		return b.reduceKnown(x.c, axes, ones, shape, r)
	}
	if x.form == image && len(axes) == x.rank()-2 && (len(axes) == 0 || axes[0] == 2) {
		return b.reshaped(imaged(x.dt, r.node(b, x.n, []int{1}), ones[2:]), shape)
	}
	return made(x.dt, b.g.Reshape(r.node(b, b.real(x), axes), shape...))
}

func (b *builder) reduceKnown(x *array, axes, ones, shape []int, r reduction) *value {
	acc := slices.Repeat([]float64{r.zero}, count(ones))
	stride := make([]int, len(ones))
	step := 1
	for a := len(ones) - 1; a >= 0; a-- {
		if !slices.Contains(axes, a) {
			stride[a] = step
		}
		step *= ones[a]
	}
	for i := range x.size() {
		p, j := 0, i
		for a := len(ones) - 1; a >= 0; a-- {
			p += j % x.shape[a] * stride[a]
			j /= x.shape[a]
		}
		acc[p] = r.step(acc[p], x.at(i))
	}
	n := 1
	for _, a := range axes {
		n *= x.shape[a]
	}
	return b.knownOf(x.dt, shape, func(i int) float64 { return r.end(acc[i], n) })
}

// tail is x with axes moved to the end as one: [rows, size], and the shape with those axes of size 1.
func (b *builder) tail(x *graph.Node, axes []int) (rows *graph.Node, ones []int) {
	var perm []int
	ones = slices.Clone(x.Shape())
	size := 1
	for i := range x.Rank() {
		if !slices.Contains(axes, i) {
			perm = append(perm, i)
		}
	}
	for _, a := range axes {
		perm = append(perm, a)
		size *= x.Dim(a)
		ones[a] = 1
	}
	return b.g.Reshape(b.g.Transpose(x, perm...), x.Size()/size, size), ones
}

func (b *builder) largest(x *graph.Node, axes []int) *graph.Node {
	if len(axes) == 0 {
		return x
	}
	if len(axes) == 1 {
		return b.g.ReduceMax(x, axes[0])
	}
	rows, ones := b.tail(x, axes)
	return b.g.Reshape(b.g.ReduceMax(rows, 1), ones...)
}

func (b *builder) product(x *graph.Node, axes []int) *graph.Node {
	g := b.g
	y, ones := b.tail(x, axes)
	for y.Dim(1) > 1 { // halves are multiplied
		n, k := y.Dim(0), y.Dim(1)
		h := k / 2
		p := g.Mul(g.Slice(y, []int{0, 0}, nil, []int{n, h}), g.Slice(y, []int{0, h}, nil, []int{n, h}))
		if k%2 == 1 {
			p = g.Concat(1, p, g.Slice(y, []int{0, k - 1}, nil, []int{n, 1}))
		}
		y = p
	}
	return g.Reshape(y, ones...)
}

func logSumExp(b *builder, x *graph.Node, axes []int) *graph.Node {
	g := b.g
	m := g.Detach(b.largest(x, axes))
	return g.Add(g.Log(g.Sum(g.Exp(g.Sub(x, m)), axes...)), m)
}

// argMax is the position of the largest along the last axis but one of x [N, R, C]: [N, C].
func (b *builder) argMax(x *graph.Node) *graph.Node {
	r := x.Dim(1)
	if r > maxWindow {
		b.fail("an axis of %d", r)
	}
	geo := b.g.Geometry(graph.Window{Size: []int{r}, Kernel: []int{r}, Stride: []int{1}, Dilation: []int{1}, Low: []int{0}, High: []int{0}})
	return b.g.Reshape(b.g.ArgMax(x, geo), x.Dim(0), x.Dim(2))
}

func (b *builder) argExtreme(n *node, x *value, largest bool) *value {
	axis := b.axis(n.int("axis", 0), x.rank())
	head, size, tail := count(x.shape[:axis]), x.shape[axis], count(x.shape[axis+1:])
	shape := slices.Concat(x.shape[:axis], x.shape[axis+1:])
	if n.int("keepdims", 1) != 0 {
		shape = slices.Insert(shape, axis, 1)
	}
	last := n.int("select_last_index", 0) != 0
	if x.c != nil {
		return b.knownOf(dtInt64, shape, func(i int) float64 {
			best := 0
			at := func(j int) float64 { return x.c.at((i/tail*size+j)*tail + i%tail) }
			for j := range size {
				v, w := at(j), at(best)
				if largest && v > w || !largest && v < w || last && v == w {
					best = j
				}
			}
			return float64(best)
		})
	}
	if last {
		b.fail("select_last_index on values that depend on the input")
	}
	y := b.real(x)
	if !largest {
		y = b.g.Neg(y)
	}
	ids := b.argMax(b.g.Reshape(y, head, size, tail))
	return &value{dt: dtInt64, shape: shape, n: b.g.Reshape(ids, shape...)}
}

// topK is the k largest, or smallest, in order: each the largest of what the ones before leave.
func topK(b *builder, n *node, in []*value) []*value {
	x := in[0]
	axis := b.axis(n.int("axis", -1), x.rank())
	k := n.int("k", 0)
	if n.opset >= 10 {
		k = int(b.number(opt(in, 1), "k"))
	}
	size := x.shape[axis]
	if k < 1 || k > size || k > 4096 {
		b.fail("the %d largest of %d", k, size)
	}
	head, tail := count(x.shape[:axis]), count(x.shape[axis+1:])
	shape := slices.Clone(x.shape)
	shape[axis] = k
	largest := n.int("largest", 1) != 0
	if x.c != nil {
		ids := newArray(dtInt64, shape...)
		at := make([]int, ids.size())
		for i := range head * tail {
			order := make([]int, size)
			place := func(j int) int { return (i/tail*size+j)*tail + i%tail }
			for j := range order {
				order[j] = j
			}
			slices.SortStableFunc(order, func(p, q int) int {
				v, w := x.c.at(place(p)), x.c.at(place(q))
				if v == w {
					return 0
				}
				if v > w == largest {
					return -1
				}
				return 1
			})
			for j := range k {
				o := (i/tail*k+j)*tail + i%tail
				ids.i[o], at[o] = int64(order[j]), place(order[j])
			}
		}
		return []*value{known(x.c.like(shape, at)), known(ids)}
	}
	g := b.g
	y := g.Reshape(b.real(x), head, size, tail)
	rest := y
	if !largest {
		rest = g.Neg(rest)
	}
	rest = g.Detach(rest)
	var parts, places []*graph.Node
	for range k {
		ids := b.argMax(rest)
		places = append(places, ids)
		parts = append(parts, g.Take(y, g.Reshape(ids, head, 1, tail)))
		hot := g.Transpose(g.OneHot(ids, size), 0, 2, 1)
		rest = g.Where(hot, g.Scalar(math.Inf(-1)), rest)
	}
	var ids *value
	if k == 1 {
		ids = &value{dt: dtInt64, shape: shape, n: g.Reshape(places[0], shape...)}
	} else {
		ids = &value{dt: dtInt64, shape: shape, why: "the places of several largest values, which are not computed"}
	}
	return []*value{made(x.dt, g.Reshape(g.Concat(1, parts...), shape...)), ids}
}
