package onnx

import (
	"hessdens/internal/graph"
	"hessdens/internal/tensor"
)

// index is a tensor of positions in another: what an operator that only moves values does,
// carried out on the positions themselves. -1 stands for no value (zero).
type index struct {
	shape []int
	at    []int
}

// arange is every position of a tensor.
func arange(shape []int) index {
	x := index{shape, make([]int, tensor.Count(shape))}
	for i := range x.at {
		x.at[i] = i
	}
	return x
}

// build makes an index of a shape; from gives the position for each coordinate.
func (x index) build(b *builder, shape []int, from func(to, at []int) bool) index {
	b.bound(shape)
	y := index{shape, make([]int, tensor.Count(shape))}
	to, at := make([]int, len(shape)), make([]int, len(x.shape))
	for i := range y.at {
		j := i
		for a := len(shape) - 1; a >= 0; a-- {
			to[a] = j % shape[a]
			j /= shape[a]
		}
		if !from(to, at) {
			y.at[i] = -1
			continue
		}
		p := 0
		for a, s := range x.shape {
			if at[a] < 0 || at[a] >= s {
				b.fail("an index %d on an axis of %d", at[a], s)
			}
			p = p*s + at[a]
		}
		y.at[i] = x.at[p]
	}
	return y
}

func (x index) transpose(b *builder, perm []int) index {
	shape := make([]int, len(perm))
	for i, p := range perm {
		shape[i] = x.shape[p]
	}
	return x.build(b, shape, func(to, at []int) bool {
		for i, p := range perm {
			at[p] = to[i]
		}
		return true
	})
}

func (x index) expand(b *builder, shape []int) index {
	lead := len(shape) - len(x.shape)
	return x.build(b, shape, func(to, at []int) bool {
		for a, s := range x.shape {
			at[a] = 0
			if s != 1 {
				at[a] = to[lead+a]
			}
		}
		return true
	})
}

func (x index) slice(b *builder, start, step, shape []int) index {
	return x.build(b, shape, func(to, at []int) bool {
		for a := range at {
			at[a] = start[a] + to[a]*step[a]
		}
		return true
	})
}

// move applies an operator that only moves values. fast, where it is not nil, does it on a node in the value's
// own shape.
func (b *builder) move(v *value, f func(x index) index, fast func(n *graph.Node) *graph.Node) *value {
	if v.c == nil && fast != nil {
		return made(v.dt, fast(b.real(v)))
	}
	return b.pick([]*value{v}, f(b.arange(v.shape)))
}

// arange is every position of a tensor that is small enough to be moved position by position.
func (b *builder) arange(shape []int) index {
	b.bound(shape)
	return arange(shape)
}

// pick makes a tensor of values at positions in the operands, laid end to end; zero where a position is negative.
func (b *builder) pick(vs []*value, x index) *value {
	all := true
	for _, v := range vs {
		all = all && v.c != nil
	}
	if all {
		if len(vs) == 1 {
			return known(vs[0].c.like(x.shape, x.at))
		}
		join := &array{dt: vs[0].dt}
		for _, v := range vs {
			join.f, join.i = append(join.f, v.c.f...), append(join.i, v.c.i...)
		}
		return known(join.like(x.shape, x.at))
	}
	g := b.g
	if len(vs) == 1 && len(x.at) == vs[0].size() {
		same := true
		for i, p := range x.at {
			same = same && i == p
		}
		if same {
			return made(vs[0].dt, g.Reshape(b.plain(vs[0]), x.shape...))
		}
	}
	parts := make([]*graph.Node, len(vs))
	n := 0
	for i, v := range vs {
		parts[i] = g.Reshape(b.real(v), v.size(), 1)
		n += v.size()
	}
	ids, empty := make([]int64, len(x.at)), false
	for i, p := range x.at {
		ids[i] = int64(p)
		if p < 0 {
			ids[i], empty = int64(n), true
		}
	}
	if empty {
		parts = append(parts, g.Const([]float64{0}, 1, 1))
	}
	if len(ids) == 0 {
		b.fail("the result has no values")
	}
	y := g.Gather(g.Concat(0, parts...), g.ConstInt(ids, len(ids)))
	return made(vs[0].dt, g.Reshape(y, x.shape...))
}
