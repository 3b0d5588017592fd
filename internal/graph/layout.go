package graph

import (
	"fmt"
	"slices"
)

// Perm is the attribute of OpTranspose.
type Perm []int

func (p Perm) inverse() Perm {
	q := make(Perm, len(p))
	for i, a := range p {
		q[a] = i
	}
	return q
}

// Axis is the attribute of operations along one axis, or the size of one.
type Axis int

// Axes is the attribute of OpSum: sorted.
type Axes []int

// SliceAttr is the attribute of OpSlice: element i of an axis is element Start + i·Step.
type SliceAttr struct{ Start, Step []int }

// PadAttr is the attribute of OpPad: zeros before, after, and between neighbours of each axis.
type PadAttr struct{ Low, High, Between []int }

// MatMulAttr is the attribute of OpMatMul: whether an operand's last two axes are exchanged.
type MatMulAttr struct{ TransA, TransB bool }

// Reshape gives the values of x, in row-major order, another shape.
func (g *Graph) Reshape(x *Node, shape ...int) *Node {
	if size(shape) != x.Size() {
		fail("reshape: %v does not hold the values of %v", shape, x.shape)
	}
	if slices.Equal(shape, x.shape) {
		return x
	}
	if x.op == OpReshape {
		return g.Reshape(x.in[0], shape...)
	}
	return g.add(OpReshape, x.kind, shape, nil, x)
}

// Transpose makes axis i of the result from axis perm[i] of x.
func (g *Graph) Transpose(x *Node, perm ...int) *Node {
	if len(perm) != x.Rank() {
		fail("transpose: %d axes named of %v", len(perm), x.shape)
	}
	shape := make([]int, len(perm))
	seen := make([]bool, len(perm))
	identity := true
	for i, p := range perm {
		if p < 0 || p >= len(perm) || seen[p] {
			fail("transpose: %v is no permutation", perm)
		}
		seen[p] = true
		shape[i] = x.shape[p]
		identity = identity && p == i
	}
	if identity {
		return x
	}
	if x.op == OpTranspose {
		q := x.attr.(Perm)
		both := make([]int, len(perm))
		for i, p := range perm {
			both[i] = q[p]
		}
		return g.Transpose(x.in[0], both...)
	}
	return g.add(OpTranspose, x.kind, shape, Perm(slices.Clone(perm)), x)
}

// Broadcast repeats the axes of size 1 to make the shape, which has the rank of x.
func (g *Graph) Broadcast(x *Node, shape ...int) *Node {
	if len(shape) != x.Rank() {
		fail("broadcast: %v has not the rank of %v", shape, x.shape)
	}
	for i, s := range shape {
		if x.shape[i] != s && x.shape[i] != 1 {
			fail("broadcast: %v cannot become %v", x.shape, shape)
		}
	}
	if slices.Equal(shape, x.shape) {
		return x
	}
	if x.op == OpBroadcast {
		return g.Broadcast(x.in[0], shape...)
	}
	return g.add(OpBroadcast, x.kind, shape, nil, x)
}

// Sum adds up over axes, which stay with size 1.
func (g *Graph) Sum(x *Node, axes ...int) *Node {
	shape := slices.Clone(x.shape)
	var over Axes
	times := 1.0
	base := x
	if x.op == OpBroadcast {
		base = x.in[0]
	}
	for _, a := range axes {
		if a < 0 {
			a += x.Rank()
		}
		if a < 0 || a >= x.Rank() {
			fail("sum: no axis %d in %v", a, x.shape)
		}
		if shape[a] != 1 {
			if base != x && base.shape[a] == 1 {
				times *= float64(shape[a]) // the sum of equal values
			} else {
				over = append(over, a)
			}
			shape[a] = 1
		}
	}
	if times != 1 {
		mid := slices.Clone(x.shape)
		for a := range mid {
			if shape[a] == 1 && base.shape[a] == 1 {
				mid[a] = 1
			}
		}
		return g.Scale(g.Sum(g.Broadcast(base, mid...), over...), times)
	}
	if len(over) == 0 {
		return x
	}
	slices.Sort(over)
	return g.add(OpSum, Float, shape, over, x)
}

// Mean averages over axes, which stay with size 1.
func (g *Graph) Mean(x *Node, axes ...int) *Node {
	s := g.Sum(x, axes...)
	return g.Scale(s, float64(s.Size())/float64(x.Size()))
}

// SumTo adds up over the axes along which shape, of the rank of x, has size 1.
func (g *Graph) SumTo(x *Node, shape ...int) *Node {
	var axes []int
	for i, s := range shape {
		if s == 1 && x.shape[i] != 1 {
			axes = append(axes, i)
		}
	}
	return g.Sum(x, axes...)
}

// Drop removes axes of size 1.
func (g *Graph) Drop(x *Node, axes ...int) *Node {
	var shape []int
	for i, s := range x.shape {
		if slices.Contains(axes, i) || slices.Contains(axes, i-x.Rank()) {
			if s != 1 {
				fail("drop: axis %d of %v is not of size 1", i, x.shape)
			}
			continue
		}
		shape = append(shape, s)
	}
	return g.Reshape(x, shape...)
}

// Slice takes shape[a] elements of every axis a, from start[a] on, step[a] apart (nil: 1; a step
// may be negative).
func (g *Graph) Slice(x *Node, start, step, shape []int) *Node {
	if len(start) != x.Rank() || len(shape) != x.Rank() || step != nil && len(step) != x.Rank() {
		fail("slice: wrong number of axes for %v", x.shape)
	}
	a := SliceAttr{Start: slices.Clone(start), Step: make([]int, x.Rank())}
	for i := range a.Step {
		a.Step[i] = 1
		if step != nil && shape[i] > 1 {
			a.Step[i] = step[i]
		}
		last := start[i] + (shape[i]-1)*a.Step[i]
		if shape[i] < 1 || a.Step[i] == 0 || min(start[i], last) < 0 || max(start[i], last) >= x.shape[i] {
			fail("slice: %d elements from %d by %d of axis %d of %v", shape[i], start[i], a.Step[i], i, x.shape)
		}
	}
	if slices.Equal(shape, x.shape) && !slices.ContainsFunc(a.Step, func(s int) bool { return s < 0 }) {
		return x
	}
	return g.add(OpSlice, x.kind, shape, a, x)
}

func sliceAdjoint(g *Graph, n, ct *Node) *Node {
	a := n.attr.(SliceAttr)
	rank := n.Rank()
	low, high, between := make([]int, rank), make([]int, rank), make([]int, rank)
	start, step := make([]int, rank), slices.Clone(a.Step)
	for i, s := range n.shape {
		first, last := a.Start[i], a.Start[i]+(s-1)*a.Step[i]
		if a.Step[i] < 0 { // turned round first
			first, last = last, first
			start[i] = s - 1
			step[i] = -1
		} else {
			step[i] = 1
		}
		low[i], high[i] = first, n.in[0].shape[i]-1-last
		between[i] = max(a.Step[i], -a.Step[i]) - 1
	}
	return g.Pad(g.Slice(ct, start, step, n.shape), low, high, between)
}

// Pad puts low zeros before, high zeros after, and between zeros between neighbours of each
// axis (nil: none).
func (g *Graph) Pad(x *Node, low, high, between []int) *Node {
	if between == nil {
		between = make([]int, x.Rank())
	}
	if len(low) != x.Rank() || len(high) != x.Rank() || len(between) != x.Rank() {
		fail("pad: wrong number of axes for %v", x.shape)
	}
	a := PadAttr{slices.Clone(low), slices.Clone(high), slices.Clone(between)}
	shape := slices.Clone(x.shape)
	for i := range shape {
		if low[i] < 0 || high[i] < 0 || between[i] < 0 {
			fail("pad: negative padding of axis %d", i)
		}
		shape[i] = low[i] + high[i] + shape[i] + max(shape[i]-1, 0)*between[i]
	}
	if slices.Equal(shape, x.shape) {
		return x
	}
	return g.add(OpPad, Float, shape, a, x)
}

func padAdjoint(g *Graph, n, ct *Node) *Node {
	a := n.attr.(PadAttr)
	step := make([]int, n.Rank())
	for i, b := range a.Between {
		step[i] = b + 1
	}
	return g.Slice(ct, a.Low, step, n.in[0].shape)
}

// beside is x + y where these are tensors with zeros around that lie beside each other, as the cotangents of slices do: they are joined, and
// zeros put around the whole, of which nothing may be left. Else it is nil.
func (g *Graph) beside(x, y *Node) *Node {
	if x.op != OpPad || y.op != OpPad || !slices.Equal(x.shape, y.shape) {
		return nil
	}
	p, q := x.attr.(PadAttr), y.attr.(PadAttr)
	axis := -1
	for i := range x.shape {
		switch same := p.Low[i] == q.Low[i] && p.High[i] == q.High[i]; {
		case p.Between[i] > 0 || q.Between[i] > 0 || !same && axis >= 0:
			return nil
		case !same:
			axis = i
		}
	}
	if axis < 0 {
		return nil
	}
	if p.Low[axis] > q.Low[axis] {
		x, y, p, q = y, x, q, p
	}
	if p.Low[axis]+x.in[0].shape[axis] != q.Low[axis] {
		return nil
	}
	var parts []*Node
	for _, z := range []*Node{x.in[0], y.in[0]} {
		if z.op == OpConcat && z.attr.(Axis) == Axis(axis) {
			parts = append(parts, z.in...)
		} else {
			parts = append(parts, z)
		}
	}
	high := slices.Clone(p.High)
	high[axis] = q.High[axis]
	return g.Pad(g.Concat(axis, parts...), p.Low, high, nil)
}

// Concat joins tensors along an axis.
func (g *Graph) Concat(axis int, xs ...*Node) *Node {
	if len(xs) == 0 {
		fail("concat: nothing to join")
	}
	if axis < 0 {
		axis += xs[0].Rank()
	}
	if axis < 0 || axis >= xs[0].Rank() {
		fail("concat: no axis %d in %v", axis, xs[0].shape)
	}
	shape := slices.Clone(xs[0].shape)
	shape[axis] = 0
	for _, x := range xs {
		want := slices.Clone(shape)
		if x.Rank() == len(want) {
			want[axis] = x.shape[axis]
		}
		if !slices.Equal(x.shape, want) || x.kind != xs[0].kind {
			fail("concat along axis %d: %v does not fit %v", axis, x.shape, xs[0].shape)
		}
		shape[axis] += x.shape[axis]
	}
	if len(xs) == 1 {
		return xs[0]
	}
	return g.add(OpConcat, xs[0].kind, shape, Axis(axis), xs...)
}

// MatMul multiplies the last two axes of a and b, exchanged first where transA, transB say so;
// the axes before are equal and count batches.
func (g *Graph) MatMul(a, b *Node, transA, transB bool) *Node {
	r := a.Rank()
	if r < 2 || b.Rank() != r || !slices.Equal(a.shape[:r-2], b.shape[:r-2]) {
		fail("matmul: shapes %v and %v do not fit", a.shape, b.shape)
	}
	m, k := a.shape[r-2], a.shape[r-1]
	if transA {
		m, k = k, m
	}
	k2, n := b.shape[r-2], b.shape[r-1]
	if transB {
		k2, n = n, k2
	}
	if k != k2 {
		fail("matmul: shapes %v and %v do not fit (transposed: %t, %t)", a.shape, b.shape, transA, transB)
	}
	shape := append(slices.Clone(a.shape[:r-2]), m, n)
	return g.add(OpMatMul, Float, shape, MatMulAttr{transA, transB}, a, b)
}

// Gather takes rows of table [V, D]: ids [...] gives [..., D].
func (g *Graph) Gather(table, ids *Node) *Node {
	if table.Rank() != 2 || ids.kind != Int {
		fail("gather: rows of %v by %v", table.shape, ids.shape)
	}
	return g.add(OpGather, table.kind, append(slices.Clone(ids.shape), table.shape[1]), nil, table, ids)
}

// Scatter adds the rows x [..., D] up in a table [rows, D], each in the row that ids [...] names.
func (g *Graph) Scatter(x, ids *Node, rows int) *Node {
	if x.Rank() < 1 || ids.kind != Int || !slices.Equal(x.shape[:x.Rank()-1], ids.shape) {
		fail("scatter: rows %v by %v", x.shape, ids.shape)
	}
	return g.add(OpScatter, Float, []int{rows, x.Dim(-1)}, Axis(rows), x, ids)
}

// Take picks along the middle axis: out[n,q,c] = x[n, ids[n,q,c], c].
func (g *Graph) Take(x, ids *Node) *Node {
	if x.Rank() != 3 || ids.Rank() != 3 || ids.kind != Int || x.shape[0] != ids.shape[0] || x.shape[2] != ids.shape[2] {
		fail("take: %v by %v", x.shape, ids.shape)
	}
	return g.add(OpTake, x.kind, ids.shape, nil, x, ids)
}

// Put is the adjoint of Take: out[n, ids[n,q,c], c] += x[n,q,c], the middle axis of the result
// having the given size.
func (g *Graph) Put(x, ids *Node, positions int) *Node {
	if x.Rank() != 3 || ids.kind != Int || !slices.Equal(x.shape, ids.shape) {
		fail("put: %v by %v", x.shape, ids.shape)
	}
	return g.add(OpPut, Float, []int{x.shape[0], positions, x.shape[2]}, Axis(positions), x, ids)
}

// OneHot is 1 at the position that each integer names along a new last axis, else 0; for an integer that names none it is
// 0 everywhere.
func (g *Graph) OneHot(ids *Node, classes int) *Node {
	if ids.kind != Int {
		fail("onehot: integers are needed")
	}
	return g.add(OpOneHot, Float, append(slices.Clone(ids.shape), classes), Axis(classes), ids)
}

// Real is integers as real numbers.
func (g *Graph) Real(ids *Node) *Node {
	if ids.kind != Int {
		fail("real: integers are needed")
	}
	return g.add(OpReal, Float, ids.shape, nil, ids)
}

func (a SliceAttr) key() string { return fmt.Sprint(a.Start, a.Step) }

func (a PadAttr) key() string { return fmt.Sprint(a.Low, a.High, a.Between) }
