package onnx

import (
	"slices"

	"hessdens/internal/graph"
)

func normOperators() map[string]operator {
	return map[string]operator{
		"BatchNormalization":           {least: 5, build: batchNorm},
		"InstanceNormalization":        one(3, instanceNorm),
		"GroupNormalization":           one(3, groupNorm),
		"LayerNormalization":           {least: 2, build: layerNorm},
		"RMSNormalization":             one(2, rmsNorm),
		"SimplifiedLayerNormalization": one(2, rmsNorm),
		"LpNormalization":              one(1, lpNorm),
	}
}

// vector is a parameter of one value a channel: [C].
func (b *builder) vector(v *value, c int) *graph.Node {
	if v.size() != c {
		b.fail("a parameter of shape %v for %d channels", v.shape, c)
	}
	return b.g.Reshape(b.real(v), c)
}

// batchNorm normalises each channel. The statistics are those of the batch where the builder, or else the
// node, says so.
func batchNorm(b *builder, n *node, in []*value) []*value {
	x, g := in[0], b.g
	if x.rank() < 2 {
		b.fail("an input of %v", x.shape)
	}
	c, eps := x.shape[1], n.float("epsilon", 1e-5)
	var y *graph.Node // [positions…, C]
	switch {
	case x.rank() == 2 && x.form == plain:
		y = b.real(x)
	case x.rank() == 2:
		y = b.real(&value{dt: x.dt, shape: x.shape, n: b.plain(x)})
	default:
		y = b.image(x)
	}
	gamma, beta, mean, variance := b.vector(in[1], c), b.vector(in[2], c), b.vector(in[3], c), b.vector(in[4], c)
	batch := n.training()
	if b.batchStats != nil {
		batch = *b.batchStats
	}
	var z *graph.Node
	var out []*value
	if batch {
		z = g.BatchNormBatch(y, gamma, beta, eps)
		axes := make([]int, y.Rank()-1)
		for i := range axes {
			axes[i] = i
		}
		m := n.float("momentum", 0.9)
		mb, vb := g.Moments(y, axes...)
		next := func(old, now *graph.Node) *value {
			return made(x.dt, g.Add(g.Scale(old, m), g.Scale(g.Reshape(now, c), 1-m)))
		}
		out = []*value{nil, next(mean, mb), next(variance, vb)}
	} else {
		z = g.BatchNorm(y, gamma, beta, mean, variance, eps)
		out = []*value{nil, in[3], in[4]}
	}
	if x.rank() == 2 {
		out[0] = made(x.dt, z)
	} else {
		out[0] = imaged(x.dt, z, x.shape[2:])
	}
	return out
}

func instanceNorm(b *builder, n *node, in []*value) *value {
	x, g := in[0], b.g
	y := b.image(x)
	mean, variance := g.Moments(y, 1)
	z := g.BatchNorm(y, b.vector(in[1], x.shape[1]), b.vector(in[2], x.shape[1]), mean, variance, n.float("epsilon", 1e-5))
	return imaged(x.dt, z, x.shape[2:])
}

// groupNorm normalises groups of channels. Scale and bias are one a group in opset 18, one a channel from 21 on.
func groupNorm(b *builder, n *node, in []*value) *value {
	x, g := in[0], b.g
	if x.rank() < 3 {
		if x.rank() < 2 {
			b.fail("an input of %v", x.shape)
		}
		y := b.reshaped(x, append(slices.Clone(x.shape), 1))
		return b.reshaped(groupNorm(b, n, append([]*value{y}, in[1:]...)), x.shape)
	}
	groups, c := n.int("num_groups", 0), x.shape[1]
	if groups < 1 || c%groups != 0 {
		b.fail("%d groups of %d channels", groups, c)
	}
	y := b.image(x)
	p := y.Dim(1)
	y = g.Reshape(y, x.shape[0], p, groups, c/groups)
	mean, variance := g.Moments(y, 1, 3)
	affine := func(v *value) *graph.Node {
		if n.opset < 21 && v.size() == groups {
			return g.Reshape(b.real(v), groups, 1)
		}
		return g.Reshape(b.vector(v, c), groups, c/groups)
	}
	z := g.Mul(g.Sub(y, mean), g.Rsqrt(g.AddC(variance, n.float("epsilon", 1e-5))))
	z = g.Add(g.Mul(z, affine(in[1])), affine(in[2]))
	return imaged(x.dt, g.Reshape(z, x.shape[0], p, c), x.shape[2:])
}

// rowsFrom is x with the axes from one on as the last: [rows, size].
func (b *builder) rowsFrom(x *value, axis int) *graph.Node {
	return b.g.Reshape(b.real(x), count(x.shape[:axis]), count(x.shape[axis:]))
}

// affineOf is a scale or bias for the axes from one on, as a vector.
func (b *builder) affineOf(v *value, tail []int) *graph.Node {
	if v == nil {
		return nil
	}
	return b.g.Reshape(b.real(b.expandTo(v, b.broadcast(v.shape, tail))), count(tail))
}

func layerNorm(b *builder, n *node, in []*value) []*value {
	x, g := in[0], b.g
	axis := b.axis(n.int("axis", -1), x.rank())
	y, tail := b.rowsFrom(x, axis), x.shape[axis:]
	eps := n.float("epsilon", 1e-5)
	z := g.LayerNorm(y, b.affineOf(in[1], tail), b.affineOf(opt(in, 2), tail), eps)
	mean, variance := g.Moments(y, 1)
	shape := slices.Concat(x.shape[:axis], slices.Repeat([]int{1}, len(tail)))
	return []*value{made(x.dt, g.Reshape(z, x.shape...)), made(x.dt, g.Reshape(mean, shape...)), made(x.dt, g.Reshape(g.Rsqrt(g.AddC(variance, eps)), shape...))}
}

func rmsNorm(b *builder, n *node, in []*value) *value {
	x, g := in[0], b.g
	axis := b.axis(n.int("axis", -1), x.rank())
	y, tail := b.rowsFrom(x, axis), x.shape[axis:]
	z := g.Mul(g.Mul(y, g.Rsqrt(g.AddC(g.Mean(g.Mul(y, y), 1), n.float("epsilon", 1e-5)))), b.affineOf(in[1], tail))
	return made(x.dt, g.Reshape(z, x.shape...))
}

func lpNorm(b *builder, n *node, in []*value) *value {
	x := in[0]
	axis := b.axis(n.int("axis", -1), x.rank())
	p := n.int("p", 2)
	return b.onLast(x, axis, func(y *graph.Node) *graph.Node {
		g := b.g
		var norm *graph.Node
		if p == 1 {
			norm = g.Sum(g.Abs(y), -1)
		} else {
			norm = g.Sum(g.Mul(y, y), -1)
		}
		// A vector of zeros stays one.
		norm = g.Where(g.Equal(norm, g.Scalar(0)), g.Scalar(1), norm)
		if p != 1 {
			return g.Mul(y, g.Rsqrt(norm))
		}
		return g.Div(y, norm)
	})
}

// meanVariance is (x − mean)/(deviation + 1e-9).
func meanVariance(b *builder, n *node, in []*value) *value {
	x, g := in[0], b.g
	axes := n.ints("axes")
	if axes == nil {
		axes = []int{0, 2, 3}
	}
	axes = b.axes(axes, x.rank())
	y := b.real(x)
	mean, variance := g.Moments(y, axes...)
	return made(x.dt, g.Div(g.Sub(y, mean), g.AddC(g.Sqrt(variance), 1e-9)))
}
