package onnx

import (
	"math"

	"hessdens/internal/graph"
	"hessdens/internal/model/onnx/onnxpb"
)

// fn is an operator on each element: its value, for constants, and its node.
func fn(f func(float64) float64, rule func(g *graph.Graph, x *graph.Node) *graph.Node) operator {
	return one(1, func(b *builder, _ *node, in []*value) *value {
		return b.unary(in[0], f, func(x *graph.Node) *graph.Node { return rule(b.g, x) })
	})
}

// act is an operator on each element that takes attributes.
func act(rule func(b *builder, n *node, x *graph.Node) *graph.Node) operator {
	return one(1, func(b *builder, n *node, in []*value) *value {
		return b.unary(in[0], nil, func(x *graph.Node) *graph.Node { return rule(b, n, x) })
	})
}

func pointwiseOperators() map[string]operator {
	identity := operator{least: 1, build: func(_ *builder, _ *node, in []*value) []*value { return in[:1] }}
	return map[string]operator{
		"Abs":        fn(math.Abs, (*graph.Graph).Abs),
		"Neg":        fn(func(x float64) float64 { return -x }, (*graph.Graph).Neg),
		"Sign":       fn(sign, (*graph.Graph).Sign),
		"Exp":        fn(math.Exp, (*graph.Graph).Exp),
		"Log":        fn(math.Log, (*graph.Graph).Log),
		"Sqrt":       fn(math.Sqrt, (*graph.Graph).Sqrt),
		"Reciprocal": fn(func(x float64) float64 { return 1 / x }, (*graph.Graph).Recip),
		"Relu":       fn(func(x float64) float64 { return math.Max(x, 0) }, (*graph.Graph).Relu),
		"Tanh":       fn(math.Tanh, (*graph.Graph).Tanh),
		"Sigmoid":    fn(nil, (*graph.Graph).Sigmoid),
		"Softplus":   fn(nil, (*graph.Graph).Softplus),
		"Erf":        fn(math.Erf, (*graph.Graph).Erf),
		"Sin":        fn(math.Sin, (*graph.Graph).Sin),
		"Cos":        fn(math.Cos, (*graph.Graph).Cos),
		"Tan":        fn(math.Tan, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Div(g.Sin(x), g.Cos(x)) }),
		"Sinh": fn(math.Sinh, func(g *graph.Graph, x *graph.Node) *graph.Node {
			return g.Scale(g.Sub(g.Exp(x), g.Exp(g.Neg(x))), 0.5)
		}),
		"Cosh": fn(math.Cosh, func(g *graph.Graph, x *graph.Node) *graph.Node {
			return g.Scale(g.Add(g.Exp(x), g.Exp(g.Neg(x))), 0.5)
		}),
		"Asinh": fn(math.Asinh, func(g *graph.Graph, x *graph.Node) *graph.Node {
			a := g.Abs(x)
			return g.Mul(g.Sign(x), g.Log(g.Add(a, g.Sqrt(g.AddC(g.Mul(a, a), 1)))))
		}),
		"Acosh": fn(math.Acosh, func(g *graph.Graph, x *graph.Node) *graph.Node {
			return g.Log(g.Add(x, g.Sqrt(g.AddC(g.Mul(x, x), -1))))
		}),
		"Atanh": fn(math.Atanh, func(g *graph.Graph, x *graph.Node) *graph.Node {
			return g.Scale(g.Log(g.Div(g.AddC(x, 1), g.AddC(g.Neg(x), 1))), 0.5)
		}),
		"Floor":    fn(math.Floor, (*graph.Graph).Floor),
		"Ceil":     fn(math.Ceil, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Neg(g.Floor(g.Neg(x))) }),
		"Round":    fn(math.RoundToEven, (*graph.Graph).Round),
		"Atan":     fn(math.Atan, (*graph.Graph).Atan),
		"Asin":     fn(math.Asin, asin),
		"Acos":     fn(math.Acos, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.AddC(g.Neg(asin(g, x)), math.Pi/2) }),
		"Softsign": fn(nil, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Div(x, g.AddC(g.Abs(x), 1)) }),
		"Mish":     fn(nil, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Mul(x, g.Tanh(g.Softplus(x))) }),
		"HardSwish": fn(nil, func(g *graph.Graph, x *graph.Node) *graph.Node {
			return g.Mul(x, hardSigmoid(g, x, 1./6, 0.5))
		}),
		"LeakyRelu": act(func(b *builder, n *node, x *graph.Node) *graph.Node { return b.g.LeakyRelu(x, n.float("alpha", 0.01)) }),
		"Elu":       act(func(b *builder, n *node, x *graph.Node) *graph.Node { return b.g.Elu(x, n.float("alpha", 1)) }),
		"Selu": act(func(b *builder, n *node, x *graph.Node) *graph.Node {
			return b.g.Scale(b.g.Elu(x, n.float("alpha", 1.67326319217681884765625)), n.float("gamma", 1.05070102214813232421875))
		}),
		"Celu": act(func(b *builder, n *node, x *graph.Node) *graph.Node {
			a := n.float("alpha", 1)
			return b.g.Scale(b.g.Elu(b.g.Scale(x, 1/a), 1), a)
		}),
		"HardSigmoid": act(func(b *builder, n *node, x *graph.Node) *graph.Node {
			return hardSigmoid(b.g, x, n.float("alpha", 0.2), n.float("beta", 0.5))
		}),
		"ThresholdedRelu": act(func(b *builder, n *node, x *graph.Node) *graph.Node {
			return b.g.Where(b.g.Step(b.g.AddC(x, -n.float("alpha", 1))), x, b.g.Scalar(0))
		}),
		"Shrink": act(func(b *builder, n *node, x *graph.Node) *graph.Node {
			g, l, bias := b.g, n.float("lambd", 0.5), n.float("bias", 0)
			return g.Where(g.Less(x, g.Scalar(-l)), g.AddC(x, bias), g.Where(g.Less(g.Scalar(l), x), g.AddC(x, -bias), g.Scalar(0)))
		}),
		"Gelu": act(func(b *builder, n *node, x *graph.Node) *graph.Node {
			switch n.str("approximate", "none") {
			case "none":
				return b.g.GELU(x)
			case "tanh":
				return b.g.GELUTanh(x)
			}
			b.fail("approximate is %q", n.str("approximate", ""))
			return nil
		}),
		"Swish": act(func(b *builder, n *node, x *graph.Node) *graph.Node {
			return b.g.Mul(x, b.g.Sigmoid(b.g.Scale(x, n.float("alpha", 1))))
		}),
		"SwiGLU": one(2, func(b *builder, n *node, in []*value) *value {
			return b.pointwise(in[0].dt, in[:2], func(x []*graph.Node) *graph.Node {
				return b.g.Mul(b.g.Mul(x[0], b.g.Sigmoid(b.g.Scale(x[0], n.float("alpha", 1)))), x[1])
			})
		}),
		"com.microsoft::Gelu": act(func(b *builder, _ *node, x *graph.Node) *graph.Node { return b.g.GELU(x) }),
		"com.microsoft::QuickGelu": act(func(b *builder, n *node, x *graph.Node) *graph.Node {
			return b.g.Mul(x, b.g.Sigmoid(b.g.Scale(x, n.float("alpha", 1.702))))
		}),
		"Identity":                  identity,
		"Dropout":                   operator{least: 1, build: dropout},
		"Clip":                      one(1, clip),
		"PRelu":                     one(2, prelu),
		"Cast":                      one(1, func(b *builder, n *node, in []*value) *value { return b.cast(in[0], dtype(n.int("to", 0))) }),
		"CastLike":                  one(2, func(b *builder, _ *node, in []*value) *value { return b.cast(in[0], in[1].dt) }),
		"IsNaN":                     one(1, isNaN),
		"IsInf":                     one(1, isInf),
		"Not":                       one(1, not),
		"Softmax":                   one(1, softmax),
		"LogSoftmax":                one(1, func(b *builder, n *node, in []*value) *value { return b.softmax(n, in[0], b.g.LogSoftmax) }),
		"Hardmax":                   one(1, hardmax),
		"StopGradient":              identity,
		"BitwiseNot":                one(1, bitwiseNot),
		"MeanVarianceNormalization": one(1, meanVariance),
	}
}

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x
}

// asin is arctan(x/√(1−x²)).
func asin(g *graph.Graph, x *graph.Node) *graph.Node {
	return g.Atan(g.Mul(x, g.Rsqrt(g.AddC(g.Neg(g.Mul(x, x)), 1))))
}

func hardSigmoid(g *graph.Graph, x *graph.Node, alpha, beta float64) *graph.Node {
	return g.Max(g.Min(g.AddC(g.Scale(x, alpha), beta), g.Scalar(1)), g.Scalar(0))
}

// dropout is the identity, as in a network that is not being trained. Its mask is all true.
func dropout(b *builder, n *node, in []*value) []*value {
	mask := func() *value { return b.knownOf(dtBool, in[0].shape, func(int) float64 { return 1 }) }
	out := []*value{in[0], nil}
	if len(n.out) > 1 && n.out[1] != "" {
		out[1] = mask()
	}
	return out
}

// clip is min(max(x, low), high). Where x is at a bound the derivative is that of x.
func clip(b *builder, n *node, in []*value) *value {
	x := in[0]
	low, high := opt(in, 1), opt(in, 2)
	if n.opset < 11 {
		bound := func(name string) *value {
			if !n.has(name) {
				return nil
			}
			return known(&array{dt: x.dt, f: []float64{n.float(name, 0)}})
		}
		low, high = bound("min"), bound("max")
	}
	if low != nil {
		x = b.extreme(x, low, true)
	}
	if high != nil {
		x = b.extreme(x, high, false)
	}
	return x
}

// extreme is the larger, or the smaller, of two.
func (b *builder) extreme(x, y *value, larger bool) *value {
	if larger {
		return b.binary(x, y, x.dt, math.Max, func(x, y int64) int64 { return max(x, y) }, b.g.Max)
	}
	return b.binary(x, y, x.dt, math.Min, func(x, y int64) int64 { return min(x, y) }, b.g.Min)
}

// prelu is x where x > 0, else slope·x.
func prelu(b *builder, _ *node, in []*value) *value {
	x, s := in[0], in[1]
	b.broadcast(x.shape, s.shape)
	return b.pointwise(x.dt, []*value{x, s}, func(n []*graph.Node) *graph.Node {
		g := b.g
		return g.Where(g.Step(n[0]), n[0], g.Mul(n[0], n[1]))
	})
}

// cast gives a value another type. Real numbers stay as exact as they are.
func (b *builder) cast(x *value, to dtype) *value {
	if width(to) == 0 {
		b.fail("casts to %s, which is not read", to)
	}
	if x.c != nil {
		out := newArray(to, x.shape...)
		for i := range out.size() {
			v := x.c.at(i)
			switch {
			case out.f != nil:
				out.f[i] = v
			case to == dtBool:
				out.i[i] = truth(v != 0)
			case x.c.f == nil:
				out.i[i] = wrap(x.c.i[i], to)
			case math.IsNaN(v) || math.Abs(v) >= 1<<63:
				out.i[i] = math.MinInt64
			default:
				out.i[i] = wrap(int64(v), to)
			}
		}
		return known(out)
	}
	if x.n.Kind() == graph.Int {
		if isFloat(to) || to == dtBool {
			return b.cast(made(x.dt, b.real(x)), to)
		}
		y := x.as(x.n)
		y.dt = to
		return y
	}
	switch {
	case to == dtBool && x.dt != dtBool:
		y := b.unary(x, nil, func(n *graph.Node) *graph.Node {
			return b.g.AddC(b.g.Neg(b.g.Equal(n, b.g.Scalar(0))), 1)
		})
		y.dt = to
		return y
	case !isFloat(to) && isFloat(x.dt):
		y := b.unary(x, nil, func(n *graph.Node) *graph.Node { return b.towardsZero(n) })
		y.dt = to
		return y
	}
	y := x.as(x.n)
	y.dt, y.scores = to, x.scores
	return y
}

// towardsZero leaves the fraction out.
func (b *builder) towardsZero(x *graph.Node) *graph.Node {
	return b.g.Mul(b.g.Sign(x), b.g.Floor(b.g.Abs(x)))
}

// wrap keeps the bits that an integer type has.
func wrap(v int64, to dtype) int64 {
	switch to {
	case dtInt32:
		return int64(int32(v))
	case onnxpb.TensorProto_INT16:
		return int64(int16(v))
	case onnxpb.TensorProto_INT8:
		return int64(int8(v))
	case onnxpb.TensorProto_UINT32:
		return int64(uint32(v))
	case onnxpb.TensorProto_UINT16:
		return int64(uint16(v))
	case onnxpb.TensorProto_UINT8:
		return int64(uint8(v))
	}
	return v
}

func isNaN(b *builder, _ *node, in []*value) *value {
	if in[0].c != nil {
		return b.knownOf(dtBool, in[0].shape, func(i int) float64 { return float64(truth(math.IsNaN(in[0].c.at(i)))) })
	}
	y := b.unary(in[0], nil, func(x *graph.Node) *graph.Node { return b.g.AddC(b.g.Neg(b.g.Equal(x, x)), 1) })
	y.dt = dtBool
	return y
}

func isInf(b *builder, n *node, in []*value) *value {
	up, down := n.int("detect_positive", 1) != 0, n.int("detect_negative", 1) != 0
	if in[0].c != nil {
		return b.knownOf(dtBool, in[0].shape, func(i int) float64 {
			v := in[0].c.at(i)
			return float64(truth(up && math.IsInf(v, 1) || down && math.IsInf(v, -1)))
		})
	}
	y := b.unary(in[0], nil, func(x *graph.Node) *graph.Node {
		g := b.g
		switch {
		case up && down:
			return g.Equal(g.Abs(x), g.Scalar(math.Inf(1)))
		case up:
			return g.Equal(x, g.Scalar(math.Inf(1)))
		case down:
			return g.Equal(x, g.Scalar(math.Inf(-1)))
		}
		return g.Scale(g.Equal(x, x), 0)
	})
	y.dt = dtBool
	return y
}

func not(b *builder, _ *node, in []*value) *value {
	return b.unary(in[0], func(x float64) float64 { return float64(truth(x == 0)) }, func(x *graph.Node) *graph.Node {
		return b.g.AddC(b.g.Neg(x), 1)
	})
}

func bitwiseNot(b *builder, _ *node, in []*value) *value {
	if in[0].c == nil || in[0].c.f != nil {
		b.fail("works on integers that depend on the input")
	}
	out := newArray(in[0].dt, in[0].shape...)
	for i, v := range in[0].c.i {
		out.i[i] = wrap(^v, in[0].dt)
	}
	return known(out)
}

func softmax(b *builder, n *node, in []*value) *value {
	y := b.softmax(n, in[0], b.g.Softmax)
	if n.opset >= 13 && in[0].rank() > 0 && b.axis(n.int("axis", -1), in[0].rank()) == in[0].rank()-1 {
		y.scores = in[0]
	}
	return y
}

// softmax applies f along an axis; before opset 13 over all axes from one on, taken together.
func (b *builder) softmax(n *node, x *value, f func(*graph.Node) *graph.Node) *value {
	if n.opset < 13 {
		a := b.axis(n.int("axis", 1), x.rank())
		return b.overTail(x, a, f)
	}
	a := b.axis(n.int("axis", -1), x.rank())
	if x.form == image && a == 1 {
		return x.as(f(x.n))
	}
	return b.onLast(x, a, f)
}

// overTail applies f to the axes from one on, taken as one.
func (b *builder) overTail(x *value, axis int, f func(*graph.Node) *graph.Node) *value {
	if x.form == image && axis == 1 && b.spatial(x) == 1 {
		return x.as(f(x.n))
	}
	y := b.real(x)
	head, tail := count(x.shape[:axis]), count(x.shape[axis:])
	return made(x.dt, b.g.Reshape(f(b.g.Reshape(y, head, tail)), x.shape...))
}

// onLast applies f, which works along the last axis and keeps the shape, along another.
func (b *builder) onLast(x *value, axis int, f func(*graph.Node) *graph.Node) *value {
	y := b.real(x)
	last := x.rank() - 1
	if axis == last {
		return made(x.dt, f(y))
	}
	perm := make([]int, x.rank())
	for i := range perm {
		perm[i] = i
	}
	perm[axis], perm[last] = last, axis
	return made(x.dt, b.g.Transpose(f(b.g.Transpose(y, perm...)), perm...))
}

func hardmax(b *builder, n *node, in []*value) *value {
	f := func(x *graph.Node) *graph.Node {
		g := b.g
		rows := x.Size() / x.Dim(-1)
		ids := b.argMax(g.Reshape(x, rows, x.Dim(-1), 1))
		return g.Reshape(g.OneHot(ids, x.Dim(-1)), x.Shape()...)
	}
	return b.softmax(n, in[0], f)
}

func (b *builder) spatial(x *value) int { return count(x.shape[2:]) }

func count(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}
