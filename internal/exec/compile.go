package exec

import (
	"fmt"
	"slices"

	"hessdens/internal/graph"
)

// compiler turns graph nodes into values.
type compiler struct {
	k       int
	lists   bool // of what is not zero in inputs
	values  []*value
	of      map[*graph.Node]*value
	copies  map[*value]*value
	read    map[*value]bool
	readers map[*graph.Node][]*graph.Node
}

func (c *compiler) add(v *value) *value {
	for _, x := range v.in {
		c.read[x] = true
	}
	v.id = len(c.values)
	c.values = append(c.values, v)
	return v
}

// fresh makes a value with a buffer of its own, dependent on what its operands depend on.
func (c *compiler) fresh(op graph.Op, attr any, shape []int, integer bool, in ...*value) *value {
	v := &value{op: op, attr: attr, shape: shape, integer: integer, in: in, k: 1}
	for _, x := range in {
		v.linear = v.linear || x.linear
		v.stage |= x.stage
	}
	if v.linear {
		v.k = c.k
	}
	v.layout = defaultLayout(shape, v.k, v.linear)
	v.root = v
	return c.add(v)
}

// view makes a value that looks at x's buffer.
func (c *compiler) view(x *value, shape []int, l layout) *value {
	return c.add(&value{shape: shape, layout: l, k: x.k, linear: x.linear, integer: x.integer, stage: x.stage, root: x.root, in: []*value{x}})
}

// packed is x in the default layout: itself, or a copy.
func (c *compiler) packed(x *value) *value {
	if x.contiguous() {
		return x
	}
	if p := c.copies[x]; p != nil {
		return p
	}
	if x.integer {
		panic(fmt.Sprintf("exec: integers of shape %v cannot be moved", x.shape))
	}
	p := c.fresh(graph.OpDetach, nil, x.shape, false, x)
	c.copies[x] = p
	return p
}

// sideBySide is the right operand of a matrix product with its directions side by side in the columns, so that one product does
// for all: a copy where a parameter's directions lie otherwise, since that is made once a product and read for each batch.
func (c *compiler) sideBySide(x *value, transposed, left bool) *value {
	if left || !x.linear || x.stage != stageDirection || len(x.shape) != 2 {
		return x
	}
	column, row := 1, 0
	if transposed {
		column, row = 0, 1
	}
	n := x.shape[column]
	if x.layout.stride[column] == 1 && (x.k == 1 || x.layout.dir == n) {
		return x
	}
	v := c.fresh(graph.OpDetach, nil, x.shape, false, x)
	v.layout = layout{stride: make([]int, 2), dir: n}
	v.layout.stride[column], v.layout.stride[row] = 1, n*x.k
	return v
}

// findReaders notes which nodes of those that are live read a node, each once.
func (c *compiler) findReaders(g *graph.Graph, live []bool) {
	for id, yes := range live {
		if !yes {
			continue
		}
		n := g.Nodes()[id]
		for _, x := range n.Inputs() {
			if r := c.readers[x]; len(r) == 0 || r[len(r)-1] != n {
				c.readers[x] = append(r, n)
			}
		}
	}
}

// asRead is the layout in which a direction's leaf n is read: the default one of what it is turned into by the only reader, which only moves it, and
// that one's; l where there is none.
func (c *compiler) asRead(n *graph.Node, l layout) layout {
	path := []*graph.Node{n}
	for {
		r := c.readers[path[len(path)-1]]
		if len(r) != 1 || r[0].Op() != graph.OpReshape && r[0].Op() != graph.OpTranspose {
			break
		}
		path = append(path, r[0])
	}
	to := defaultLayout(path[len(path)-1].Shape(), c.k, true)
	for i := len(path) - 1; i > 0; i-- {
		perm, moves := path[i].Attr().(graph.Perm)
		if !moves {
			var ok bool
			if to.stride, ok = reshape(path[i].Shape(), to.stride, path[i-1].Shape()); !ok {
				return l
			}
			continue
		}
		stride := make([]int, len(perm))
		for a, p := range perm {
			stride[p] = to.stride[a]
		}
		to.stride = stride
	}
	return to
}

// lower makes the value of a node whose operands have theirs.
func (c *compiler) lower(n *graph.Node) *value {
	in := make([]*value, len(n.Inputs()))
	for i, x := range n.Inputs() {
		in[i] = c.of[x]
	}
	integer := n.Kind() == graph.Int
	switch n.Op() {
	case graph.OpParam, graph.OpConst, graph.OpInput, graph.OpDirection:
		v := &value{op: n.Op(), attr: n.Attr(), shape: n.Shape(), integer: integer, leaf: n, k: 1}
		switch n.Op() {
		case graph.OpInput:
			v.stage = stagePrimal
		case graph.OpDirection:
			v.stage, v.linear, v.k = stageDirection, true, c.k
		}
		v.layout = defaultLayout(v.shape, v.k, v.linear)
		if v.linear {
			v.layout = c.asRead(n, v.layout)
		}
		v.root = v
		return c.add(v)
	case graph.OpDetach:
		return in[0]
	case graph.OpReshape:
		x := in[0]
		stride, ok := reshape(x.shape, x.layout.stride, n.Shape())
		if !ok {
			// Moved into the default layout of the new shape: a copy whose axes are those of the finest
			// common split of both shapes.
			return c.reshapeCopy(x, n.Shape())
		}
		return c.view(x, n.Shape(), layout{x.layout.off, stride, x.layout.dir})
	case graph.OpTranspose:
		x := in[0]
		stride := make([]int, len(x.shape))
		for i, p := range n.Attr().(graph.Perm) {
			stride[i] = x.layout.stride[p]
		}
		return c.view(x, n.Shape(), layout{x.layout.off, stride, x.layout.dir})
	case graph.OpBroadcast:
		x := in[0]
		stride := slices.Clone(x.layout.stride)
		for a := range stride {
			if x.shape[a] != n.Dim(a) {
				stride[a] = 0
			}
		}
		return c.view(x, n.Shape(), layout{x.layout.off, stride, x.layout.dir})
	case graph.OpSlice:
		x, s := in[0], n.Attr().(graph.SliceAttr)
		l := layout{x.layout.off, slices.Clone(x.layout.stride), x.layout.dir}
		for a := range s.Start {
			l.off += s.Start[a] * l.stride[a]
			l.stride[a] *= s.Step[a]
		}
		return c.view(x, n.Shape(), l)
	}
	if !n.Op().Pointwise() {
		switch n.Op() {
		case graph.OpMatMul:
			kept := keptPanels(in[0].stage|in[1].stage, in[1]) // arranged from any layout
			for i, x := range in {
				if !matrixOperand(x) && !(kept && i == 1) {
					in[i] = c.packed(x)
				}
			}
			if c.lists && mayBeSparse(in[0]) { // lists need rows
				in[1] = c.sideBySide(in[1], n.Attr().(graph.MatMulAttr).TransB, in[0].linear)
			}
		case graph.OpSum:
			if v := c.sumInPassing(n, in[0]); v != nil {
				return v
			}
			in[0] = c.packed(in[0])
		case graph.OpConv:
			in[0] = c.packed(in[0])
			if !arrangedWeights(n.Attr().(*graph.Geometry), in[0].stage|in[1].stage, in[1]) || slices.Min(in[1].layout.stride) < 0 {
				in[1] = c.packed(in[1])
			}
		case graph.OpPad, graph.OpConcat: // they read any layout
		default:
			for i, x := range in {
				in[i] = c.packed(x)
			}
		}
	}
	return c.fresh(n.Op(), n.Attr(), n.Shape(), integer, in...)
}

// sumInPassing is a sum that the chain of its operand makes, in part or whole, so that the operand need not be kept for it; nil
// where that cannot be.
func (c *compiler) sumInPassing(n *graph.Node, x *value) *value {
	last := len(x.shape) - 1
	if x.isView() || !fusible(x) || last < 0 {
		return nil
	}
	over := make([]bool, len(x.shape))
	for _, a := range n.Attr().(graph.Axes) {
		over[a] = true
	}
	all, none := true, true // of the axes before the last
	for a, s := range x.shape[:last] {
		all, none = all && (over[a] || s == 1), none && (!over[a] || s == 1)
	}
	channels := x.shape[last]
	switch rows := count(x.shape[:last]); {
	case all && !over[last] && rows > 1:
		each := sumPositions(channels)
		part := c.fresh(graph.OpSum, nil, []int{(rows + each - 1) / each, channels}, false, x)
		part.reduce = reducePositions
		return c.fresh(graph.OpSum, graph.Axes{0}, n.Shape(), false, part)
	case none && over[last] && channels > 1 && channels <= maxChannels:
		v := c.fresh(graph.OpSum, n.Attr(), n.Shape(), false, x)
		v.reduce = reduceChannels
		return v
	}
	return nil
}

// reshapeCopy is a reshape that moves elements. The copy is made in a shape that both can be
// split from: the last axis of the target is cut where the source's axes end, so that source and
// target are strided over the same axes.
func (c *compiler) reshapeCopy(x *value, to []int) *value {
	if x.integer {
		panic(fmt.Sprintf("exec: integers of shape %v cannot be moved", x.shape))
	}
	// The copy of x in its own shape but with the layout that the target prescribes: strides of
	// the target's default layout, carried back to x's shape where possible.
	d := defaultLayout(to, x.k, x.linear)
	if back, ok := reshape(to, d.stride, x.shape); ok {
		if (x.op == graph.OpConcat || x.op == graph.OpPad) && !c.read[x] { // is put together in that layout
			x.layout = layout{0, back, d.dir}
			return c.view(x, to, layout{0, d.stride, d.dir})
		}
		v := c.fresh(graph.OpDetach, nil, x.shape, false, x)
		v.layout = layout{0, back, d.dir}
		return c.view(v, to, layout{0, d.stride, d.dir})
	}
	// Otherwise split both into common factors: row-major axes cut at every boundary of either
	// shape, which exists where the boundaries divide each other.
	fine, ok := refine(x.shape, to)
	if ok {
		if src, ok := reshape(x.shape, x.layout.stride, fine); ok {
			xs := c.view(x, fine, layout{x.layout.off, src, x.layout.dir})
			if dst, ok := reshape(to, d.stride, fine); ok {
				v := c.fresh(graph.OpDetach, nil, fine, false, xs)
				v.layout = layout{0, dst, d.dir}
				return c.view(v, to, layout{0, d.stride, d.dir})
			}
		}
	}
	// In general through a layout with the direction axis first, which any shape can be seen in.
	first := layout{stride: make([]int, len(x.shape)), dir: count(x.shape)}
	step := 1
	for a := len(x.shape) - 1; a >= 0; a-- {
		first.stride[a] = step
		step *= x.shape[a]
	}
	v := c.fresh(graph.OpDetach, nil, x.shape, false, x)
	v.layout = first
	stride, ok := reshape(x.shape, first.stride, to)
	if !ok {
		panic("exec: reshape of a row-major tensor")
	}
	return c.view(v, to, layout{0, stride, first.dir})
}

// refine cuts two row-major shapes of equal size at the boundaries of both.
func refine(a, b []int) ([]int, bool) {
	ends := map[int]bool{}
	for _, s := range [][]int{a, b} {
		inner := 1
		for i := len(s) - 1; i >= 0; i-- {
			inner *= s[i]
			ends[inner] = true
		}
	}
	sorted := make([]int, 0, len(ends))
	for e := range ends {
		sorted = append(sorted, e)
	}
	slices.Sort(sorted)
	var fine []int
	last := 1
	for _, e := range sorted {
		if e%last != 0 {
			return nil, false
		}
		if e != last {
			fine = append(fine, e/last)
			last = e
		}
	}
	slices.Reverse(fine)
	return fine, true
}
