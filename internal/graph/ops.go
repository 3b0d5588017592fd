package graph

import (
	"fmt"
	"math"
	"slices"
)

// Op names an operation. The comment beside each gives its operands, its attribute's type, and
// what it computes; x, y are real, i integer.
type Op uint8

// The operations.
const (
	OpParam     Op = iota // Leaf: a parameter
	OpInput               // Leaf: changes with the batch
	OpDirection           // Leaf: what derivatives are linear in
	OpConst               // *Values

	OpAbs      // |x|
	OpSign     // -1, 0, 1
	OpStep     // 1 where x > 0, else 0
	OpFloor    // the largest integer that is not larger
	OpRound    // the nearest integer, an even one where two are
	OpRelu     // max(x, 0)
	OpExp      // eˣ
	OpLog      // ln x
	OpSqrt     // √x
	OpRsqrt    // 1/√x
	OpRecip    // 1/x
	OpTanh     // tanh x
	OpSigmoid  // 1/(1+e⁻ˣ)
	OpSoftplus // ln(1+eˣ)
	OpErf      // erf x
	OpSin      // sin x
	OpCos      // cos x
	OpAtan     // arctan x
	OpPowC     // float64 c: xᶜ
	OpScale    // float64 c: c·x
	OpAddC     // float64 c: x + c
	OpAdd      // x + y
	OpSub      // x - y
	OpMul      // x·y
	OpDiv      // x/y
	OpMax      // max(x, y)
	OpMin      // min(x, y)
	OpPow      // xʸ
	OpLess     // 1 where x < y, else 0
	OpEqual    // 1 where x = y, else 0
	OpWhere    // (m, x, y): x where m ≠ 0, else y
	OpDetach   // x, with derivative zero

	OpReshape   // the same values in another shape
	OpTranspose // Perm: axis i of the result is axis Perm[i]
	OpBroadcast // axes of size 1 repeated
	OpSlice     // SliceAttr
	OpPad       // PadAttr: with zeros around and between
	OpConcat    // Axis: along one axis
	OpSum       // Axes: over axes, which stay with size 1
	OpMatMul    // MatMulAttr: the last two axes, batched over those before
	OpConv      // *Geometry: x [N,P,Cin], w [taps,Cin/groups,Cout] to [N,Q,Cout]
	OpConvW     // *Geometry: x [N,P,Cin], d [N,Q,Cout] to [taps,Cin/groups,Cout]
	OpRows      // *Sparse S [Q,P]: x [N,P,C] to [N,Q,C]
	OpArgMax    // *Geometry: x [N,P,C] to integers [N,Q,C], the position of the largest in each window
	OpTake      // x [N,P,C], i [N,Q,C] to [N,Q,C]: along the middle axis
	OpPut       // Axis P: x [N,Q,C], i [N,Q,C] to [N,P,C]: the adjoint of OpTake, repeated positions add up
	OpGather    // x [V,D], i [...] to [...,D]: rows
	OpScatter   // Axis V: x [...,D], i [...] to [V,D]: the adjoint of OpGather
	OpOneHot    // Axis C: i [...] to [...,C]
	OpReal      // i as real numbers

	numOps
)

// entry is what an operation is. A nil rule means derivative zero.
type entry struct {
	name string
	// eval is the value of a pointwise operation, c its attribute.
	eval func(x, y, z, c float64) float64
	// through returns c·∂n/∂(operand i) of a pointwise operation, c nil standing for 1, also in what is returned; false: zero.
	through func(g *Graph, n *Node, i int, c *Node) (*Node, bool)
	// jvp returns the derivative of any other operation along the operands' derivatives (nil: zero), or nil.
	jvp func(g *Graph, n *Node, dot []*Node) *Node
	// vjp returns the cotangents of the operands that are wanted (others may be nil).
	vjp func(g *Graph, n *Node, ct *Node, wanted []bool) []*Node
}

func (op Op) String() string {
	if op < numOps {
		return ops[op].name
	}
	return fmt.Sprintf("op%d", op)
}

// Pointwise says whether the operation works on each element alone, operands and result of one
// shape.
func (op Op) Pointwise() bool { return ops[op].eval != nil }

// Eval is the value of a pointwise operation at one element: x, y, z its operands (those that it
// has), c its attribute.
func (op Op) Eval(x, y, z, c float64) float64 { return ops[op].eval(x, y, z, c) }

// Kink says whether the operation's value decides which branch of a piecewise smooth function a
// point lies on.
func (op Op) Kink() bool {
	switch op {
	case OpStep, OpFloor, OpRound, OpSign, OpLess, OpEqual, OpArgMax:
		return true
	}
	return false
}

// pointwise makes the entry of a pointwise operation from its partial derivatives; a nil partial
// is zero.
func pointwise(name string, eval func(x, y, z, c float64) float64, partials func(g *Graph, n *Node, i int) *Node) entry {
	e := entry{name: name, eval: eval}
	if partials == nil {
		return e
	}
	e.through = func(g *Graph, n *Node, i int, c *Node) (*Node, bool) {
		p := partials(g, n, i)
		if p == nil {
			return nil, false
		}
		if v, ok := scalarValue(p); ok && v == 1 {
			return c, true
		}
		if c != nil {
			p = g.Mul(p, c)
		}
		return p, true
	}
	e.vjp = func(g *Graph, n *Node, ct *Node, wanted []bool) []*Node {
		out := make([]*Node, len(n.in))
		for i := range n.in {
			if !wanted[i] {
				continue
			}
			if p := partials(g, n, i); p != nil {
				out[i] = g.Mul(p, ct)
			}
		}
		return out
	}
	return e
}

// linear makes the entry of an operation that is linear in its first operand and constant in
// the others: again rebuilds it on another first operand, adjoint is its transpose.
func linear(name string, again, adjoint func(g *Graph, n *Node, x *Node) *Node) entry {
	return entry{
		name: name,
		jvp: func(g *Graph, n *Node, dot []*Node) *Node {
			if dot[0] == nil {
				return nil
			}
			return again(g, n, dot[0])
		},
		vjp: func(g *Graph, n *Node, ct *Node, wanted []bool) []*Node {
			out := make([]*Node, len(n.in))
			if wanted[0] {
				out[0] = adjoint(g, n, ct)
			}
			return out
		},
	}
}

// bilinear makes the entry of an operation on two operands that is linear in each.
func bilinear(name string, again func(g *Graph, n *Node, x, y *Node) *Node, left, right func(g *Graph, n *Node, ct *Node) *Node) entry {
	return entry{
		name: name,
		jvp: func(g *Graph, n *Node, dot []*Node) *Node {
			var sum *Node
			if dot[0] != nil {
				sum = again(g, n, dot[0], n.in[1])
			}
			if dot[1] != nil {
				sum = g.plus(sum, again(g, n, n.in[0], dot[1]))
			}
			return sum
		},
		vjp: func(g *Graph, n *Node, ct *Node, wanted []bool) []*Node {
			out := make([]*Node, 2)
			if wanted[0] {
				out[0] = left(g, n, ct)
			}
			if wanted[1] {
				out[1] = right(g, n, ct)
			}
			return out
		},
	}
}

// plus is Add where nil stands for zero.
func (g *Graph) plus(x, y *Node) *Node {
	if x == nil {
		return y
	}
	if y == nil {
		return x
	}
	return g.Add(x, y)
}

// fn1 lifts a function of one variable.
func fn1(f func(float64) float64) func(x, y, z, c float64) float64 {
	return func(x, _, _, _ float64) float64 { return f(x) }
}

// fn2 lifts a function of two variables.
func fn2(f func(x, y float64) float64) func(x, y, z, c float64) float64 {
	return func(x, y, _, _ float64) float64 { return f(x, y) }
}

// d1 lifts the derivative of a function of one variable, given as a node from the operand and
// the result.
func d1(f func(g *Graph, x, y *Node) *Node) func(g *Graph, n *Node, i int) *Node {
	return func(g *Graph, n *Node, _ int) *Node { return f(g, n.in[0], n) }
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func relu(x float64) float64 {
	if x < 0 {
		return 0
	}
	return x // NaN stays
}

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x // 0 and NaN
}

func sigmoid(x float64) float64 {
	if x >= 0 {
		return 1 / (1 + math.Exp(-x))
	}
	e := math.Exp(x)
	return e / (1 + e)
}

func softplus(x float64) float64 { return math.Max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

// ops is the table of operations. It is filled by a function because rules name constructors,
// which name the table.
var ops [numOps]entry

func init() { ops = table() }

func table() [numOps]entry {
	return [numOps]entry{
		OpParam:     {name: "param"},
		OpInput:     {name: "input"},
		OpDirection: {name: "direction"},
		OpConst:     {name: "const"},

		OpAbs:   pointwise("abs", fn1(math.Abs), d1(func(g *Graph, x, _ *Node) *Node { return g.Sign(x) })),
		OpSign:  pointwise("sign", fn1(sign), nil),
		OpStep:  pointwise("step", fn1(func(x float64) float64 { return truth(x > 0) }), nil),
		OpFloor: pointwise("floor", fn1(math.Floor), nil),
		OpRound: pointwise("round", fn1(math.RoundToEven), nil),
		OpRelu:  pointwise("relu", fn1(relu), d1(func(g *Graph, x, _ *Node) *Node { return g.Step(x) })),
		OpExp:   pointwise("exp", fn1(math.Exp), d1(func(_ *Graph, _, y *Node) *Node { return y })),
		OpLog:   pointwise("log", fn1(math.Log), d1(func(g *Graph, x, _ *Node) *Node { return g.Recip(x) })),
		OpSqrt:  pointwise("sqrt", fn1(math.Sqrt), d1(func(g *Graph, _, y *Node) *Node { return g.Scale(g.Recip(y), 0.5) })),
		OpRsqrt: pointwise("rsqrt", fn1(func(x float64) float64 { return 1 / math.Sqrt(x) }), d1(func(g *Graph, _, y *Node) *Node {
			return g.Scale(g.Mul(y, g.Mul(y, y)), -0.5)
		})),
		OpRecip:    pointwise("recip", fn1(func(x float64) float64 { return 1 / x }), d1(func(g *Graph, _, y *Node) *Node { return g.Neg(g.Mul(y, y)) })),
		OpTanh:     pointwise("tanh", fn1(math.Tanh), d1(func(g *Graph, _, y *Node) *Node { return g.AddC(g.Neg(g.Mul(y, y)), 1) })),
		OpSigmoid:  pointwise("sigmoid", fn1(sigmoid), d1(func(g *Graph, _, y *Node) *Node { return g.Mul(y, g.AddC(g.Neg(y), 1)) })),
		OpSoftplus: pointwise("softplus", fn1(softplus), d1(func(g *Graph, x, _ *Node) *Node { return g.Sigmoid(x) })),
		OpErf: pointwise("erf", fn1(math.Erf), d1(func(g *Graph, x, _ *Node) *Node {
			return g.Scale(g.Exp(g.Neg(g.Mul(x, x))), 2/math.SqrtPi)
		})),
		OpSin:  pointwise("sin", fn1(math.Sin), d1(func(g *Graph, x, _ *Node) *Node { return g.Cos(x) })),
		OpCos:  pointwise("cos", fn1(math.Cos), d1(func(g *Graph, x, _ *Node) *Node { return g.Neg(g.Sin(x)) })),
		OpAtan: pointwise("atan", fn1(math.Atan), d1(func(g *Graph, x, _ *Node) *Node { return g.Recip(g.AddC(g.Mul(x, x), 1)) })),
		OpPowC: pointwise("powc", func(x, _, _, c float64) float64 { return math.Pow(x, c) }, func(g *Graph, n *Node, _ int) *Node {
			c := n.attr.(float64)
			return g.Scale(g.PowC(n.in[0], c-1), c)
		}),
		OpScale: pointwise("scale", func(x, _, _, c float64) float64 { return c * x }, func(g *Graph, n *Node, _ int) *Node { return g.Scalar(n.attr.(float64)) }),
		OpAddC:  pointwise("addc", func(x, _, _, c float64) float64 { return x + c }, d1(func(g *Graph, _, _ *Node) *Node { return g.Scalar(1) })),
		OpAdd:   pointwise("add", fn2(func(x, y float64) float64 { return x + y }), func(g *Graph, _ *Node, _ int) *Node { return g.Scalar(1) }),
		OpSub:   pointwise("sub", fn2(func(x, y float64) float64 { return x - y }), func(g *Graph, _ *Node, i int) *Node { return g.Scalar(1 - 2*float64(i)) }),
		OpMul:   pointwise("mul", fn2(func(x, y float64) float64 { return x * y }), func(_ *Graph, n *Node, i int) *Node { return n.in[1-i] }),
		OpDiv: pointwise("div", fn2(func(x, y float64) float64 { return x / y }), func(g *Graph, n *Node, i int) *Node {
			r := g.Recip(n.in[1])
			if i == 0 {
				return r
			}
			return g.Neg(g.Mul(n, r))
		}),
		// At a tie the derivative belongs to the first operand.
		OpMax: pointwise("max", fn2(math.Max), func(g *Graph, n *Node, i int) *Node { return firstOrSecond(g, g.Less(n.in[0], n.in[1]), i) }),
		OpMin: pointwise("min", fn2(math.Min), func(g *Graph, n *Node, i int) *Node { return firstOrSecond(g, g.Less(n.in[1], n.in[0]), i) }),
		OpPow: pointwise("pow", fn2(math.Pow), func(g *Graph, n *Node, i int) *Node {
			x, y := n.in[0], n.in[1]
			if i == 0 {
				return g.Mul(y, g.Pow(x, g.AddC(y, -1)))
			}
			// d xʸ/dy = xʸ ln x, and 0 at x = 0, where ln x is not finite.
			return g.Where(g.Equal(x, g.Scalar(0)), g.Scalar(0), g.Mul(n, g.Log(x)))
		}),
		OpLess:   pointwise("less", fn2(func(x, y float64) float64 { return truth(x < y) }), nil),
		OpEqual:  pointwise("equal", fn2(func(x, y float64) float64 { return truth(x == y) }), nil),
		OpWhere:  whereEntry(),
		OpDetach: pointwise("detach", fn1(func(x float64) float64 { return x }), nil),

		OpReshape: linear("reshape",
			func(g *Graph, n, x *Node) *Node { return g.Reshape(x, n.shape...) },
			func(g *Graph, n, x *Node) *Node { return g.Reshape(x, n.in[0].shape...) }),
		OpTranspose: linear("transpose",
			func(g *Graph, n, x *Node) *Node { return g.Transpose(x, n.attr.(Perm)...) },
			func(g *Graph, n, x *Node) *Node { return g.Transpose(x, n.attr.(Perm).inverse()...) }),
		OpBroadcast: linear("broadcast",
			func(g *Graph, n, x *Node) *Node { return g.Broadcast(x, n.shape...) },
			func(g *Graph, n, x *Node) *Node { return g.SumTo(x, n.in[0].shape...) }),
		OpSlice: linear("slice",
			func(g *Graph, n, x *Node) *Node { a := n.attr.(SliceAttr); return g.Slice(x, a.Start, a.Step, n.shape) },
			sliceAdjoint),
		OpPad: linear("pad",
			func(g *Graph, n, x *Node) *Node { a := n.attr.(PadAttr); return g.Pad(x, a.Low, a.High, a.Between) },
			padAdjoint),
		OpConcat: concatEntry(),
		OpSum: linear("sum",
			func(g *Graph, n, x *Node) *Node { return g.Sum(x, n.attr.(Axes)...) },
			func(g *Graph, n, x *Node) *Node { return g.Broadcast(x, n.in[0].shape...) }),
		OpMatMul: bilinear("matmul",
			func(g *Graph, n, x, y *Node) *Node {
				a := n.attr.(MatMulAttr)
				return g.MatMul(x, y, a.TransA, a.TransB)
			},
			func(g *Graph, n, ct *Node) *Node {
				a := n.attr.(MatMulAttr)
				if a.TransA { // Ā = op(B)·C̄ᵀ
					return g.MatMul(n.in[1], ct, a.TransB, true)
				}
				return g.MatMul(ct, n.in[1], false, !a.TransB)
			},
			func(g *Graph, n, ct *Node) *Node {
				a := n.attr.(MatMulAttr)
				if a.TransB { // B̄ = C̄ᵀ·op(A)
					return g.MatMul(ct, n.in[0], true, a.TransA)
				}
				return g.MatMul(n.in[0], ct, !a.TransA, false)
			}),
		OpConv: bilinear("conv",
			func(g *Graph, n, x, w *Node) *Node { return g.Conv(x, w, n.attr.(*Geometry)) },
			func(g *Graph, n, ct *Node) *Node {
				geo := n.attr.(*Geometry)
				return g.Conv(ct, g.swapChannels(n.in[1], geo.Groups), geo.Transposed())
			},
			func(g *Graph, n, ct *Node) *Node { return g.ConvW(n.in[0], ct, n.attr.(*Geometry)) }),
		OpConvW: bilinear("convw",
			func(g *Graph, n, x, d *Node) *Node { return g.ConvW(x, d, n.attr.(*Geometry)) },
			func(g *Graph, n, ct *Node) *Node {
				geo := n.attr.(*Geometry)
				return g.Conv(n.in[1], g.swapChannels(ct, geo.Groups), geo.Transposed())
			},
			func(g *Graph, n, ct *Node) *Node { return g.Conv(n.in[0], ct, n.attr.(*Geometry)) }),
		OpRows: linear("rows",
			func(g *Graph, n, x *Node) *Node { return g.Rows(x, n.attr.(*Sparse)) },
			func(g *Graph, n, x *Node) *Node { return g.Rows(x, n.attr.(*Sparse).Transposed()) }),
		OpArgMax: {name: "argmax"},
		OpTake: linear("take",
			func(g *Graph, n, x *Node) *Node { return g.Take(x, n.in[1]) },
			func(g *Graph, n, x *Node) *Node { return g.Put(x, n.in[1], n.in[0].shape[1]) }),
		OpPut: linear("put",
			func(g *Graph, n, x *Node) *Node { return g.Put(x, n.in[1], n.shape[1]) },
			func(g *Graph, n, x *Node) *Node { return g.Take(x, n.in[1]) }),
		OpGather: linear("gather",
			func(g *Graph, n, x *Node) *Node { return g.Gather(x, n.in[1]) },
			func(g *Graph, n, x *Node) *Node { return g.Scatter(x, n.in[1], n.in[0].shape[0]) }),
		OpScatter: linear("scatter",
			func(g *Graph, n, x *Node) *Node { return g.Scatter(x, n.in[1], n.shape[0]) },
			func(g *Graph, n, x *Node) *Node { return g.Gather(x, n.in[1]) }),
		OpOneHot: {name: "onehot"},
		OpReal:   {name: "real"},
	}
}

// firstOrSecond is 1-m for operand 0 and m for operand 1.
func firstOrSecond(g *Graph, m *Node, i int) *Node {
	if i == 0 {
		return g.AddC(g.Neg(m), 1)
	}
	return m
}

// whereEntry selects cotangents, and factors of derivatives, instead of multiplying by the mask, so that an infinite
// derivative of the branch not taken does no harm.
func whereEntry() entry {
	e := pointwise("where", func(m, x, y, _ float64) float64 {
		if m != 0 {
			return x
		}
		return y
	}, nil)
	orZero := func(g *Graph, x *Node, like *Node) *Node {
		if x == nil {
			return g.Broadcast(g.Reshape(g.Scalar(0), ones(like.Rank())...), like.shape...)
		}
		return x
	}
	e.through = func(g *Graph, n *Node, i int, c *Node) (*Node, bool) {
		one, zero := g.orOne(c), g.Scalar(0)
		switch i {
		case 1:
			return g.Where(n.in[0], one, zero), true
		case 2:
			return g.Where(n.in[0], zero, one), true
		}
		return nil, false
	}
	e.vjp = func(g *Graph, n *Node, ct *Node, _ []bool) []*Node {
		zero := orZero(g, nil, n)
		return []*Node{nil, g.Where(n.in[0], ct, zero), g.Where(n.in[0], zero, ct)}
	}
	return e
}

func concatEntry() entry {
	return entry{
		name: "concat",
		jvp: func(g *Graph, n *Node, dot []*Node) *Node {
			axis := int(n.attr.(Axis))
			if !slices.Contains(dot, nil) {
				return g.Concat(axis, dot...)
			}
			// Zero parts are padding, so that only what is there is computed.
			var sum *Node
			at := 0
			for i, x := range n.in {
				if dot[i] != nil {
					low, high := make([]int, n.Rank()), make([]int, n.Rank())
					low[axis], high[axis] = at, n.shape[axis]-at-x.shape[axis]
					sum = g.plus(sum, g.Pad(dot[i], low, high, nil))
				}
				at += x.shape[axis]
			}
			return sum
		},
		vjp: func(g *Graph, n *Node, ct *Node, wanted []bool) []*Node {
			axis := int(n.attr.(Axis))
			out := make([]*Node, len(n.in))
			start := make([]int, n.Rank())
			for i, x := range n.in {
				if wanted[i] {
					out[i] = g.Slice(ct, start, nil, x.shape)
				}
				start[axis] += x.shape[axis]
			}
			return out
		},
	}
}
