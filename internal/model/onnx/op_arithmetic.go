package onnx

import (
	"math"
	"slices"

	"hessdens/internal/graph"
)

// arithmetic is an operator on two operands with broadcasting.
func arithmetic(f func(x, y float64) float64, i func(x, y int64) int64, rule func(g *graph.Graph, x, y *graph.Node) *graph.Node) operator {
	return one(2, func(b *builder, _ *node, in []*value) *value {
		return b.binary(in[0], in[1], in[0].dt, f, i, func(x, y *graph.Node) *graph.Node { return rule(b.g, x, y) })
	})
}

// relation is an operator whose result is a truth: 1 or 0.
func relation(f func(x, y float64) bool, rule func(g *graph.Graph, x, y *graph.Node) *graph.Node) operator {
	return one(2, func(b *builder, _ *node, in []*value) *value {
		value := func(x, y float64) float64 { return float64(truth(f(x, y))) }
		return b.binary(in[0], in[1], dtBool, value, nil, func(x, y *graph.Node) *graph.Node {
			if rule == nil {
				b.fail("depends on the input's values")
			}
			return rule(b.g, x, y)
		})
	})
}

// bitwise is an operator on integers that are known.
func bitwise(f func(x, y int64) int64) operator {
	return one(2, func(b *builder, _ *node, in []*value) *value {
		return b.binary(in[0], in[1], in[0].dt, nil, func(x, y int64) int64 { return wrap(f(x, y), in[0].dt) }, func(_, _ *graph.Node) *graph.Node {
			b.fail("works on integers that depend on the input")
			return nil
		})
	})
}

// fold is an operator on any number of operands.
func fold(mean bool, f func(x, y float64) float64, rule func(g *graph.Graph, x, y *graph.Node) *graph.Node) operator {
	return one(1, func(b *builder, _ *node, in []*value) *value {
		y := in[0]
		for _, x := range in[1:] {
			y = b.binary(y, x, y.dt, f, nil, func(x, y *graph.Node) *graph.Node { return rule(b.g, x, y) })
		}
		if mean {
			c := 1 / float64(len(in))
			y = b.unary(y, func(x float64) float64 { return c * x }, func(x *graph.Node) *graph.Node { return b.g.Scale(x, c) })
		}
		return y
	})
}

func arithmeticOperators() map[string]operator {
	and := func(g *graph.Graph, x, y *graph.Node) *graph.Node { return g.Mul(x, y) }
	or := func(g *graph.Graph, x, y *graph.Node) *graph.Node { return g.Max(x, y) }
	notOf := func(g *graph.Graph, x *graph.Node) *graph.Node { return g.AddC(g.Neg(x), 1) }
	add := func(x, y float64) float64 { return x + y }
	return map[string]operator{
		"Add":            arithmetic(add, func(x, y int64) int64 { return x + y }, (*graph.Graph).Add),
		"Sub":            arithmetic(func(x, y float64) float64 { return x - y }, func(x, y int64) int64 { return x - y }, (*graph.Graph).Sub),
		"Mul":            arithmetic(func(x, y float64) float64 { return x * y }, func(x, y int64) int64 { return x * y }, (*graph.Graph).Mul),
		"Div":            one(2, div),
		"Pow":            one(2, pow),
		"Max":            fold(false, math.Max, (*graph.Graph).Max),
		"Min":            fold(false, math.Min, (*graph.Graph).Min),
		"Sum":            fold(false, add, (*graph.Graph).Add),
		"Mean":           fold(true, add, (*graph.Graph).Add),
		"Mod":            one(2, mod),
		"BitShift":       one(2, bitShift),
		"BitwiseAnd":     bitwise(func(x, y int64) int64 { return x & y }),
		"BitwiseOr":      bitwise(func(x, y int64) int64 { return x | y }),
		"BitwiseXor":     bitwise(func(x, y int64) int64 { return x ^ y }),
		"And":            relation(func(x, y float64) bool { return x != 0 && y != 0 }, and),
		"Or":             relation(func(x, y float64) bool { return x != 0 || y != 0 }, or),
		"Xor":            relation(func(x, y float64) bool { return (x != 0) != (y != 0) }, func(g *graph.Graph, x, y *graph.Node) *graph.Node { return notOf(g, g.Equal(x, y)) }),
		"Equal":          relation(func(x, y float64) bool { return x == y }, (*graph.Graph).Equal),
		"Less":           relation(func(x, y float64) bool { return x < y }, (*graph.Graph).Less),
		"Greater":        relation(func(x, y float64) bool { return x > y }, func(g *graph.Graph, x, y *graph.Node) *graph.Node { return g.Less(y, x) }),
		"LessOrEqual":    relation(func(x, y float64) bool { return x <= y }, func(g *graph.Graph, x, y *graph.Node) *graph.Node { return g.Max(g.Less(x, y), g.Equal(x, y)) }),
		"GreaterOrEqual": relation(func(x, y float64) bool { return x >= y }, func(g *graph.Graph, x, y *graph.Node) *graph.Node { return g.Max(g.Less(y, x), g.Equal(x, y)) }),
		"Where":          one(3, where),
	}
}

func div(b *builder, _ *node, in []*value) *value {
	return b.binary(in[0], in[1], in[0].dt, func(x, y float64) float64 { return x / y }, func(x, y int64) int64 { return x / y }, func(x, y *graph.Node) *graph.Node {
		if !isFloat(in[0].dt) {
			return b.towardsZero(b.g.Div(x, y))
		}
		if v, ok := uniform(y); ok && v != 0 {
			return b.g.Scale(x, 1/v)
		}
		return b.g.Div(x, y)
	})
}

func pow(b *builder, _ *node, in []*value) *value {
	return b.binary(in[0], in[1], in[0].dt, math.Pow, nil, func(x, y *graph.Node) *graph.Node {
		if v, ok := uniform(y); ok && v == 3 { // exact for negative numbers, and cheap
			return b.g.Mul(x, b.g.Mul(x, x))
		}
		return b.g.Pow(x, y)
	})
}

func mod(b *builder, n *node, in []*value) *value {
	fmod := n.int("fmod", 0) != 0
	return b.binary(in[0], in[1], in[0].dt, func(x, y float64) float64 {
		r := math.Mod(x, y)
		if !fmod && r*y < 0 {
			r += y
		}
		return r
	}, func(x, y int64) int64 {
		r := x % y
		if !fmod && r != 0 && (r < 0) != (y < 0) {
			r += y
		}
		return r
	}, func(x, y *graph.Node) *graph.Node {
		g := b.g
		q := b.towardsZero(g.Div(x, y))
		r := g.Where(q, g.Sub(x, g.Mul(y, q)), x) // y may be infinite
		if fmod {
			return r
		}
		return g.Where(g.Less(g.Mul(r, y), g.Scalar(0)), g.Add(r, y), r)
	})
}

func bitShift(b *builder, n *node, in []*value) *value {
	if in[0].c == nil || in[1].c == nil || in[0].c.f != nil || in[1].c.f != nil {
		b.fail("works on integers that depend on the input")
	}
	return b.binary(in[0], in[1], in[0].dt, nil, func(x, y int64) int64 {
		if n.str("direction", "") == "LEFT" {
			return wrap(int64(uint64(x)<<uint64(y)), in[0].dt)
		}
		return int64(uint64(x) >> uint64(y))
	}, nil)
}

func where(b *builder, _ *node, in []*value) *value {
	m, x, y := in[0], b.instead(in[0], in[1], true), b.instead(in[0], in[2], false)
	shape := b.broadcast(m.shape, x.shape, y.shape)
	if m.c != nil && x.c != nil && y.c != nil {
		out := b.array(x.dt, shape...)
		mi, xi, yi := b.repeat(m.shape, shape), b.repeat(x.shape, shape), b.repeat(y.shape, shape)
		for i := range out.size() {
			src, at := y.c, yi(i)
			if m.c.at(mi(i)) != 0 {
				src, at = x.c, xi(i)
			}
			if out.f != nil {
				out.f[i] = src.f[at]
			} else {
				out.i[i] = src.i[at]
			}
		}
		return known(out)
	}
	return b.pointwise(x.dt, []*value{m, x, y}, func(n []*graph.Node) *graph.Node {
		if v := n[0]; v.Op() == graph.OpConst || v.Op() == graph.OpBroadcast {
			// A mask that is one number decides at once, so that the branch not taken is not there.
			if c, ok := uniform(v); ok {
				if c != 0 {
					return n[1]
				}
				return n[2]
			}
		}
		return b.g.Where(n[0], n[1], n[2])
	})
}

// instead is an operand of Where, taken where m is as said. A softmax of which m chooses whole rows is taken of zeros in the rows that are
// left out: these may be of nothing but −∞, where it is no number, and zero times that would be in the derivative.
func (b *builder) instead(m, v *value, taken bool) *value {
	if v.scores == nil || m.rank() > v.rank() || m.rank() > 0 && m.dim(-1) != 1 {
		return v
	}
	zero := known(&array{dt: v.dt, f: []float64{0}})
	in := []*value{m, zero, v.scores}
	if taken {
		in = []*value{m, v.scores, zero}
	}
	rows := where(b, nil, in)
	if !slices.Equal(rows.shape, v.shape) {
		return v
	}
	return made(v.dt, b.g.Softmax(b.real(rows)))
}

// uniform is the one number that a constant repeats.
func uniform(x *graph.Node) (float64, bool) {
	for x.Op() == graph.OpBroadcast || x.Op() == graph.OpReshape {
		x = x.Inputs()[0]
	}
	if x.Op() != graph.OpConst || x.Size() != 1 || x.Kind() != graph.Float {
		return 0, false
	}
	return x.Attr().(*graph.Values).F[0], true
}
