package graph

import "slices"

// ones is the shape of a scalar seen as a tensor of some rank.
func ones(rank int) []int {
	s := make([]int, rank)
	for i := range s {
		s[i] = 1
	}
	return s
}

// unary makes a pointwise operation on one operand.
func (g *Graph) unary(op Op, x *Node, attr any) *Node {
	if x.kind != Float {
		fail("%s: integers where real numbers are needed", op)
	}
	if v, ok := scalarValue(x); ok {
		c, _ := attr.(float64)
		y := g.Scalar(op.Eval(v, 0, 0, c))
		return g.Reshape(y, x.shape...)
	}
	return g.add(op, Float, x.shape, attr, x)
}

// expand broadcasts operands to one shape by numpy's rule: shapes are aligned at their last
// axes, and an axis of size 1 is repeated.
func (g *Graph) expand(op Op, xs ...*Node) {
	rank := 0
	for _, x := range xs {
		if x.kind != Float {
			fail("%s: integers where real numbers are needed", op)
		}
		rank = max(rank, x.Rank())
	}
	shape := ones(rank)
	for _, x := range xs {
		for i, s := range x.shape {
			d := &shape[rank-x.Rank()+i]
			if s != 1 && *d != 1 && s != *d {
				fail("%s: shapes %v and %v do not fit", op, xs[0].shape, x.shape)
			}
			if s != 1 {
				*d = s
			}
		}
	}
	for i, x := range xs {
		xs[i] = g.Broadcast(g.Reshape(x, slices.Concat(ones(rank-x.Rank()), x.shape)...), shape...)
	}
}

func (g *Graph) binary(op Op, x, y *Node) *Node {
	if a, ok := scalarValue(x); ok {
		if b, ok := scalarValue(y); ok {
			v := g.Scalar(op.Eval(a, b, 0, 0))
			return g.Reshape(v, ones(max(x.Rank(), y.Rank()))...)
		}
	}
	xs := []*Node{x, y}
	g.expand(op, xs...)
	return g.add(op, Float, xs[0].shape, nil, xs...)
}

// constantOf is the one constant that a node repeats, if it does.
func constantOf(x *Node) (float64, bool) {
	for x.op == OpBroadcast || x.op == OpReshape {
		x = x.in[0]
	}
	return scalarValue(x)
}

// withScalar finds the constant operand of a commutative operation: c and the other, where the
// result has the other's shape.
func withScalar(x, y *Node) (other *Node, c float64, ok bool) {
	if c, ok := constantOf(y); ok && fits(y, x) {
		return x, c, true
	}
	if c, ok := constantOf(x); ok && fits(x, y) {
		return y, c, true
	}
	return nil, 0, false
}

// fits says whether broadcasting small against big leaves big's shape.
func fits(small, big *Node) bool {
	if small.Rank() > big.Rank() {
		return false
	}
	for i, s := range small.shape {
		if s != 1 && s != big.shape[big.Rank()-small.Rank()+i] {
			return false
		}
	}
	return true
}

// Neg is -x.
func (g *Graph) Neg(x *Node) *Node { return g.Scale(x, -1) }

// Abs is |x|.
func (g *Graph) Abs(x *Node) *Node { return g.unary(OpAbs, x, nil) }

// Sign is -1, 0 or 1; its derivative is zero.
func (g *Graph) Sign(x *Node) *Node { return g.unary(OpSign, x, nil) }

// Step is 1 where x > 0, else 0; its derivative is zero.
func (g *Graph) Step(x *Node) *Node { return g.unary(OpStep, x, nil) }

// Floor is the largest integer that is not larger; its derivative is zero.
func (g *Graph) Floor(x *Node) *Node { return g.unary(OpFloor, x, nil) }

// Round is the nearest integer, an even one where two are; its derivative is zero.
func (g *Graph) Round(x *Node) *Node { return g.unary(OpRound, x, nil) }

// Relu is max(x, 0), with derivative 0 at 0.
func (g *Graph) Relu(x *Node) *Node { return g.unary(OpRelu, x, nil) }

// Exp is eˣ.
func (g *Graph) Exp(x *Node) *Node { return g.unary(OpExp, x, nil) }

// Log is the natural logarithm.
func (g *Graph) Log(x *Node) *Node { return g.unary(OpLog, x, nil) }

// Sqrt is √x.
func (g *Graph) Sqrt(x *Node) *Node { return g.unary(OpSqrt, x, nil) }

// Rsqrt is 1/√x.
func (g *Graph) Rsqrt(x *Node) *Node { return g.unary(OpRsqrt, x, nil) }

// Recip is 1/x.
func (g *Graph) Recip(x *Node) *Node { return g.unary(OpRecip, x, nil) }

// Tanh is the hyperbolic tangent.
func (g *Graph) Tanh(x *Node) *Node { return g.unary(OpTanh, x, nil) }

// Sigmoid is 1/(1+e⁻ˣ).
func (g *Graph) Sigmoid(x *Node) *Node { return g.unary(OpSigmoid, x, nil) }

// Softplus is ln(1+eˣ).
func (g *Graph) Softplus(x *Node) *Node { return g.unary(OpSoftplus, x, nil) }

// Erf is the error function.
func (g *Graph) Erf(x *Node) *Node { return g.unary(OpErf, x, nil) }

// Sin is the sine.
func (g *Graph) Sin(x *Node) *Node { return g.unary(OpSin, x, nil) }

// Cos is the cosine.
func (g *Graph) Cos(x *Node) *Node { return g.unary(OpCos, x, nil) }

// Atan is the inverse tangent.
func (g *Graph) Atan(x *Node) *Node { return g.unary(OpAtan, x, nil) }

// Detach is x with derivative zero.
func (g *Graph) Detach(x *Node) *Node { return g.unary(OpDetach, x, nil) }

// PowC is xᶜ for a constant c.
func (g *Graph) PowC(x *Node, c float64) *Node {
	switch c {
	case 0:
		return g.AddC(g.Scale(x, 0), 1)
	case 1:
		return x
	case 2:
		return g.Mul(x, x)
	case 0.5:
		return g.Sqrt(x)
	case -0.5:
		return g.Rsqrt(x)
	case -1:
		return g.Recip(x)
	}
	return g.unary(OpPowC, x, c)
}

// Scale is c·x for a constant c.
func (g *Graph) Scale(x *Node, c float64) *Node {
	if c == 1 {
		return x
	}
	if x.op == OpScale {
		return g.Scale(x.in[0], c*x.attr.(float64))
	}
	return g.unary(OpScale, x, c)
}

// AddC is x + c for a constant c.
func (g *Graph) AddC(x *Node, c float64) *Node {
	if c == 0 {
		return x
	}
	return g.unary(OpAddC, x, c)
}

// Add is x + y.
func (g *Graph) Add(x, y *Node) *Node {
	if o, c, ok := withScalar(x, y); ok {
		return g.AddC(o, c)
	}
	if y.op == OpScale && y.attr.(float64) == -1 {
		return g.Sub(x, y.in[0])
	}
	if z := g.beside(x, y); z != nil {
		return z
	}
	return g.binary(OpAdd, x, y)
}

// Sub is x - y.
func (g *Graph) Sub(x, y *Node) *Node {
	if c, ok := constantOf(y); ok && fits(y, x) {
		return g.AddC(x, -c)
	}
	return g.binary(OpSub, x, y)
}

// Mul is x·y.
func (g *Graph) Mul(x, y *Node) *Node {
	if o, c, ok := withScalar(x, y); ok {
		return g.Scale(o, c)
	}
	return g.binary(OpMul, x, y)
}

// Div is x/y.
func (g *Graph) Div(x, y *Node) *Node {
	if c, ok := constantOf(x); ok && fits(x, y) {
		return g.Scale(g.Recip(y), c)
	}
	return g.binary(OpDiv, x, y)
}

// Max is the larger; at a tie the derivative belongs to x.
func (g *Graph) Max(x, y *Node) *Node { return g.binary(OpMax, x, y) }

// Min is the smaller; at a tie the derivative belongs to x.
func (g *Graph) Min(x, y *Node) *Node { return g.binary(OpMin, x, y) }

// Pow is xʸ.
func (g *Graph) Pow(x, y *Node) *Node {
	if c, ok := constantOf(y); ok && fits(y, x) {
		return g.PowC(x, c)
	}
	return g.binary(OpPow, x, y)
}

// Less is 1 where x < y, else 0; its derivative is zero.
func (g *Graph) Less(x, y *Node) *Node { return g.binary(OpLess, x, y) }

// Equal is 1 where x = y, else 0; its derivative is zero.
func (g *Graph) Equal(x, y *Node) *Node { return g.binary(OpEqual, x, y) }

// Where is x where mask is not 0, else y.
func (g *Graph) Where(mask, x, y *Node) *Node {
	xs := []*Node{mask, x, y}
	g.expand(OpWhere, xs...)
	return g.add(OpWhere, Float, xs[0].shape, nil, xs...)
}
