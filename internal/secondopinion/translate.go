package secondopinion

import (
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"hessdens/internal/graph"
)

// translation builds Gorgonia's expression of a loss. Every node of it is a tensor of real numbers
// of rank 1 at least: scalars are a type of their own there. Integers are real numbers too.
// Constants are inputs, so that Gorgonia rewrites no expression with constants into another.
type translation struct {
	p      Problem
	g      *gorgonia.ExprGraph
	nodes  map[*graph.Node]*gorgonia.Node
	leaves map[*graph.Node]*leaf
	values map[*gorgonia.Node]gorgonia.Value // of nodes without operands
	fills  map[string]*gorgonia.Node
	bytes  float64
	ops    int
}

// failure carries an error out of the construction.
type failure struct{ error }

func newTranslation(p Problem) *translation {
	return &translation{
		p:      p,
		g:      gorgonia.NewGraph(),
		nodes:  map[*graph.Node]*gorgonia.Node{},
		leaves: map[*graph.Node]*leaf{},
		values: map[*gorgonia.Node]gorgonia.Value{},
		fills:  map[string]*gorgonia.Node{},
	}
}

func (t *translation) node(n *graph.Node) {
	in := make([]*gorgonia.Node, len(n.Inputs()))
	for i, x := range n.Inputs() {
		in[i] = t.nodes[x]
	}
	y := rules[n.Op()](t, n, in)
	if !slices.Equal(y.Shape(), shapeOf(n.Shape())) {
		panic(failure{fmt.Errorf("the translation of %v has shape %v", n, y.Shape())})
	}
	t.nodes[n] = y
}

// reached are the nodes by which loss has a derivative that is not zero whatever the values.
func reached(loss *graph.Node) map[*graph.Node]bool {
	reached := map[*graph.Node]bool{loss: true}
	for _, n := range slices.Backward(ancestors(loss)) {
		if !reached[n] {
			continue
		}
		in := n.Inputs()
		switch n.Op() {
		case graph.OpStep, graph.OpSign, graph.OpLess, graph.OpEqual, graph.OpDetach, graph.OpArgMax, graph.OpOneHot, graph.OpReal:
			in = nil
		case graph.OpTake, graph.OpGather:
			in = in[:1]
		case graph.OpWhere:
			in = in[1:]
		}
		for _, x := range in {
			reached[x] = true
		}
	}
	return reached
}

// shapeOf is a shape of rank 1 at least.
func shapeOf(s []int) tensor.Shape {
	if len(s) == 0 {
		return tensor.Shape{1}
	}
	return slices.Clone(s)
}

// need counts the memory of one more node.
func (t *translation) need(size int) {
	if t.bytes += bytesPerValue * float64(size); t.bytes > maxBytes {
		panic(failure{errTooLarge})
	}
}

// do counts a node that Gorgonia made.
func (t *translation) do(n *gorgonia.Node, err error) *gorgonia.Node {
	if err != nil {
		panic(failure{err})
	}
	t.need(n.Shape().TotalSize())
	return n
}

// input makes a node without operands, once need has counted it. The values are kept.
func (t *translation) input(v []float64, shape tensor.Shape) *gorgonia.Node {
	n := gorgonia.NewTensor(t.g, gorgonia.Float64, shape.Dims(), gorgonia.WithShape(shape...), gorgonia.WithName(fmt.Sprint("input ", len(t.values))))
	t.values[n] = tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))
	return n
}

// fill makes a constant of equal values.
func (t *translation) fill(shape tensor.Shape, v float64) *gorgonia.Node {
	key := fmt.Sprintf("%v %x", shape, math.Float64bits(v))
	n := t.fills[key]
	if n == nil {
		t.need(shape.TotalSize())
		n = t.input(slices.Repeat([]float64{v}, shape.TotalSize()), shape)
		t.fills[key] = n
	}
	return n
}

// apply makes a node of an operation of our own.
func (t *translation) apply(op gorgonia.Op, in ...*gorgonia.Node) *gorgonia.Node {
	return t.do(gorgonia.ApplyOp(op, in...))
}

// name is one that no other operation of this expression has: Gorgonia takes operations of equal
// names for equal.
func (t *translation) name(what string) string {
	t.ops++
	return fmt.Sprintf("%s %d", what, t.ops)
}

// rule makes Gorgonia's expression of a node from those of its operands.
type rule func(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node

// unary is a rule by an operation of Gorgonia's.
func unary(f func(*gorgonia.Node) (*gorgonia.Node, error)) rule {
	return func(t *translation, _ *graph.Node, in []*gorgonia.Node) *gorgonia.Node { return t.do(f(in[0])) }
}

func binary(f func(a, b *gorgonia.Node) (*gorgonia.Node, error)) rule {
	return func(t *translation, _ *graph.Node, in []*gorgonia.Node) *gorgonia.Node { return t.do(f(in[0], in[1])) }
}

// constant is a rule by an operation of Gorgonia's on the operand and the attribute.
func constant(f func(a, b *gorgonia.Node) (*gorgonia.Node, error)) rule {
	return func(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		return t.do(f(in[0], t.fill(in[0].Shape(), n.Attr().(float64))))
	}
}

func (t *translation) add(a, b *gorgonia.Node) *gorgonia.Node { return t.do(gorgonia.Add(a, b)) }
func (t *translation) sub(a, b *gorgonia.Node) *gorgonia.Node { return t.do(gorgonia.Sub(a, b)) }
func (t *translation) mul(a, b *gorgonia.Node) *gorgonia.Node {
	return t.do(gorgonia.HadamardProd(a, b))
}

// comparison is 1 where it holds, else 0, with no derivative.
type comparison func(a, b *gorgonia.Node, retSame bool) (*gorgonia.Node, error)

func (t *translation) compare(f comparison, a, b *gorgonia.Node) *gorgonia.Node {
	return t.do(f(a, b, true))
}

// step is 1 where x > 0.
func (t *translation) step(x *gorgonia.Node) *gorgonia.Node {
	return t.compare(gorgonia.Gt, x, t.fill(x.Shape(), 0))
}

// fold is the side of x and -|x|: Gorgonia's Sigmoid is 1 from 19 on, off by 6e-9, and its
// Softplus x from 16 on, off by 1e-7; below 0 both are right.
func (t *translation) fold(x *gorgonia.Node) (positive, folded *gorgonia.Node) {
	positive = t.step(x)
	one, two := t.fill(x.Shape(), 1), t.fill(x.Shape(), 2)
	return positive, t.mul(x, t.sub(one, t.mul(two, positive)))
}

// choose takes x where keep holds, y where other does.
func choose(keep, other comparison) rule {
	return func(t *translation, _ *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		x, y := in[0], in[1]
		return t.add(t.mul(x, t.compare(keep, x, y)), t.mul(y, t.compare(other, x, y)))
	}
}

// rules is the list of what is supported. Missing are what only derivatives are made of (convw,
// put, scatter) and direction.
var rules = [...]rule{
	graph.OpParam: leafRule,
	graph.OpInput: leafRule,
	graph.OpConst: func(t *translation, n *graph.Node, _ []*gorgonia.Node) *gorgonia.Node {
		v := n.Attr().(*graph.Values)
		t.need(n.Size())
		if n.Kind() == graph.Int {
			return t.input(reals(v.I), shapeOf(n.Shape()))
		}
		return t.input(slices.Clone(v.F), shapeOf(n.Shape()))
	},

	graph.OpAbs:  unary(gorgonia.Abs),
	graph.OpSign: unary(gorgonia.Sign),
	graph.OpStep: func(t *translation, _ *graph.Node, in []*gorgonia.Node) *gorgonia.Node { return t.step(in[0]) },
	// Gorgonia's Rectify has derivative 1 at 0.
	graph.OpRelu: func(t *translation, _ *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		return t.mul(in[0], t.step(in[0]))
	},
	graph.OpExp:  unary(gorgonia.Exp),
	graph.OpLog:  unary(gorgonia.Log),
	graph.OpSqrt: unary(gorgonia.Sqrt),
	// The derivative of Gorgonia's InverseSqrt is -1/(2y³), not -y³/2, y the result.
	graph.OpRsqrt: func(t *translation, _ *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		return t.do(gorgonia.Inverse(t.do(gorgonia.Sqrt(in[0]))))
	},
	graph.OpRecip: unary(gorgonia.Inverse),
	graph.OpTanh:  unary(gorgonia.Tanh),
	graph.OpSigmoid: func(t *translation, _ *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		// s(x) = s(-|x|), and 1 - s(-|x|) where x > 0.
		positive, folded := t.fold(in[0])
		s := t.do(gorgonia.Sigmoid(folded))
		one, two := t.fill(s.Shape(), 1), t.fill(s.Shape(), 2)
		return t.add(s, t.mul(positive, t.sub(one, t.mul(two, s))))
	},
	graph.OpSoftplus: func(t *translation, _ *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		// max(x, 0) + ln(1 + e^-|x|)
		positive, folded := t.fold(in[0])
		return t.add(t.mul(in[0], positive), t.do(gorgonia.Softplus(folded)))
	},
	// Gorgonia has none.
	graph.OpErf:   func(t *translation, _ *graph.Node, in []*gorgonia.Node) *gorgonia.Node { return t.apply(erf{t}, in[0]) },
	graph.OpSin:   unary(gorgonia.Sin),
	graph.OpCos:   unary(gorgonia.Cos),
	graph.OpPowC:  constant(gorgonia.Pow),
	graph.OpScale: constant(gorgonia.HadamardProd),
	graph.OpAddC:  constant(gorgonia.Add),
	graph.OpAdd:   binary(gorgonia.Add),
	graph.OpSub:   binary(gorgonia.Sub),
	graph.OpMul:   binary(gorgonia.HadamardProd),
	graph.OpDiv:   binary(gorgonia.HadamardDiv),
	graph.OpMax:   choose(gorgonia.Gte, gorgonia.Lt),
	graph.OpMin:   choose(gorgonia.Lte, gorgonia.Gt),
	graph.OpPow:   binary(gorgonia.Pow),
	graph.OpLess: func(t *translation, _ *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		return t.compare(gorgonia.Lt, in[0], in[1])
	},
	graph.OpEqual: func(t *translation, _ *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		return t.compare(gorgonia.Eq, in[0], in[1])
	},
	// By masks: a branch not taken has to be finite.
	graph.OpWhere: func(t *translation, _ *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		zero := t.fill(in[0].Shape(), 0)
		return t.add(t.mul(in[1], t.compare(gorgonia.Ne, in[0], zero)), t.mul(in[2], t.compare(gorgonia.Eq, in[0], zero)))
	},
	graph.OpDetach: func(t *translation, _ *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		return t.apply(&still{name: t.name("detach"), from: in[0].Shape(), to: in[0].Shape(), eval: func(dst, x []float64) error {
			copy(dst, x)
			return nil
		}}, in[0])
	},

	graph.OpReshape: func(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		return t.reshape(in[0], shapeOf(n.Shape()))
	},
	graph.OpTranspose: func(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		return t.do(gorgonia.Transpose(in[0], n.Attr().(graph.Perm)...))
	},
	graph.OpBroadcast: broadcastRule,
	graph.OpSlice: func(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		// Gorgonia's slices that begin 256 apart are one to it.
		a, x := n.Attr().(graph.SliceAttr), in[0]
		for axis, size := range n.Shape() {
			x = t.along(x, axis, size, "slice", func(i int) int { return a.Start[axis] + i*a.Step[axis] })
		}
		return x
	},
	graph.OpPad: func(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		a, x := n.Attr().(graph.PadAttr), in[0]
		for axis, size := range n.Shape() {
			old := x.Shape()[axis]
			x = t.along(x, axis, size, "pad", func(i int) int {
				i -= a.Low[axis]
				if p := i / (a.Between[axis] + 1); i >= 0 && i%(a.Between[axis]+1) == 0 && p < old {
					return p
				}
				return -1
			})
		}
		return x
	},
	graph.OpConcat: func(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		axis := int(n.Attr().(graph.Axis))
		var sum *gorgonia.Node
		at := 0
		for _, x := range in {
			low, size := at, x.Shape()[axis]
			at += size
			x = t.along(x, axis, n.Dim(axis), "concat", func(i int) int {
				if i < low || i >= low+size {
					return -1
				}
				return i - low
			})
			if sum == nil {
				sum = x
			} else {
				sum = t.add(sum, x)
			}
		}
		return sum
	},
	graph.OpSum: func(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		x := in[0]
		for _, a := range n.Attr().(graph.Axes) {
			shape := x.Shape()
			to := shape.Clone()
			to[a] = 1
			x = t.reshape(t.do(gorgonia.Sum(t.reshape(x, threeAxes(shape, a)), 1)), to)
		}
		return x
	},
	graph.OpMatMul: matMulRule,
	graph.OpConv:   convRule,
	graph.OpRows: func(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		s, x := n.Attr().(*graph.Sparse), in[0].Shape()
		return t.apply(&linear{
			name: t.name("rows"), from: x, to: shapeOf(n.Shape()),
			apply: func(dst, src []float64) { sparseRows(dst, src, s, x[0], x[2], false) },
			back:  func(dst, src []float64) { sparseRows(dst, src, s, x[0], x[2], true) },
		}, in[0])
	},
	graph.OpArgMax: func(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		geo, channels := n.Attr().(*graph.Geometry), n.Dim(2)
		return t.apply(&still{name: t.name("argmax"), from: in[0].Shape(), to: shapeOf(n.Shape()), eval: func(dst, x []float64) error {
			for i := range dst {
				example, q, c := i/(geo.Out*channels), i/channels%geo.Out, i%channels
				best, at := math.Inf(-1), -1
				for _, p := range geo.Index[q*geo.Taps : (q+1)*geo.Taps] {
					if p < 0 {
						continue
					}
					if v := x[(example*geo.In+int(p))*channels+c]; at < 0 || v > best || math.IsNaN(v) && !math.IsNaN(best) {
						best, at = v, int(p)
					}
				}
				dst[i] = float64(at)
			}
			return nil
		}}, in[0])
	},
	graph.OpTake: func(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		positions, q, c := in[0].Shape()[1], n.Dim(1), n.Dim(2)
		return t.apply(&pick{name: t.name("take"), x: in[0].Shape(), ids: in[1].Shape(), to: shapeOf(n.Shape()), limit: positions, width: 1,
			at: func(i, id int) int { return (i/(q*c)*positions+id)*c + i%c }}, in...)
	},
	graph.OpGather: func(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		width := n.Dim(-1)
		return t.apply(&pick{name: t.name("gather"), x: in[0].Shape(), ids: in[1].Shape(), to: shapeOf(n.Shape()), limit: in[0].Shape()[0], width: width,
			at: func(i, id int) int { return id*width + i%width }}, in...)
	},
	graph.OpReal: func(_ *translation, _ *graph.Node, in []*gorgonia.Node) *gorgonia.Node { return in[0] },
	graph.OpOneHot: func(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
		classes := n.Dim(-1)
		return t.apply(&still{name: t.name("onehot"), from: in[0].Shape(), to: shapeOf(n.Shape()), eval: func(dst, x []float64) error {
			for i, v := range x {
				if v < 0 {
					continue
				}
				if !(v < float64(classes)) {
					return fmt.Errorf("class %v of %d", v, classes)
				}
				dst[i*classes+int(v)] = 1
			}
			return nil
		}}, in[0])
	},
}

func reals(v []int64) []float64 {
	f := make([]float64, len(v))
	for i, x := range v {
		f[i] = float64(x)
	}
	return f
}

func leafRule(t *translation, n *graph.Node, _ []*gorgonia.Node) *gorgonia.Node {
	name := n.Attr().(graph.Leaf).Name
	var v []float64
	var ok bool
	if n.Kind() == graph.Int {
		var ints []int64
		ints, ok = t.p.Ints[n]
		v = reals(ints)
	} else {
		v, ok = t.p.Leaves[n]
	}
	switch {
	case !ok:
		panic(failure{fmt.Errorf("no values for %q", name)})
	case len(v) != n.Size():
		panic(failure{fmt.Errorf("%d values for %q, which has %d", len(v), name, n.Size())})
	}
	t.need(n.Size())
	l := &leaf{name: name, initial: slices.Clone(v), next: slices.Clone(v)}
	if n.Kind() == graph.Float {
		t.leaves[n] = l
	}
	return t.input(l.next, shapeOf(n.Shape()))
}

// reshape gives x another shape.
func (t *translation) reshape(x *gorgonia.Node, shape tensor.Shape) *gorgonia.Node {
	if slices.Equal(x.Shape(), shape) {
		return x
	}
	return t.do(gorgonia.Reshape(x, shape))
}

// threeAxes sees a shape as what lies before, on and after an axis. Gorgonia's Sum over an axis
// but the first and the last of a tensor of four axes reads wrong elements, of three it is right;
// the derivative of its Broadcast is such a sum.
func threeAxes(shape tensor.Shape, axis int) tensor.Shape {
	return tensor.Shape{shape[:axis].TotalSize(), shape[axis], shape[axis+1:].TotalSize()}
}

// broadcastRule repeats by Gorgonia's Broadcast, which takes the size from another node.
func broadcastRule(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
	x := in[0]
	for a, s := range n.Shape() {
		shape := x.Shape()
		if shape[a] == s {
			continue
		}
		to := shape.Clone()
		to[a] = s
		like := t.fill(threeAxes(to, a), 1)
		_, y, err := gorgonia.Broadcast(like, t.reshape(x, threeAxes(shape, a)), gorgonia.NewBroadcastPattern(nil, []byte{1}))
		x = t.reshape(t.do(y, err), to)
	}
	return x
}

func matMulRule(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
	a := n.Attr().(graph.MatMulAttr)
	if n.Rank() == 2 {
		x, y := in[0], in[1]
		if a.TransA {
			x = t.do(gorgonia.Transpose(x, 1, 0))
		}
		if a.TransB {
			y = t.do(gorgonia.Transpose(y, 1, 0))
		}
		return t.do(gorgonia.Mul(x, y))
	}
	batched := make([]*gorgonia.Node, 2)
	for i, x := range in {
		s := x.Shape()
		r := len(s)
		batched[i] = t.reshape(x, tensor.Shape{s[:r-2].TotalSize(), s[r-2], s[r-1]})
	}
	return t.reshape(t.do(gorgonia.BatchedMatMul(batched[0], batched[1], a.TransA, a.TransB)), shapeOf(n.Shape()))
}

// convRule is a product of matrices: the taps of each output position side by side, times the
// weight.
func convRule(t *translation, n *graph.Node, in []*gorgonia.Node) *gorgonia.Node {
	geo := n.Attr().(*graph.Geometry)
	examples, channels, out := n.Dim(0), in[0].Shape()[2], n.Dim(2)
	groups := geo.Groups
	cols := t.along(in[0], 1, geo.Out*geo.Taps, "taps", func(i int) int { return int(geo.Index[i]) })
	if groups == 1 {
		x := t.reshape(cols, tensor.Shape{examples * geo.Out, geo.Taps * channels})
		w := t.reshape(in[1], tensor.Shape{geo.Taps * channels, out})
		return t.reshape(t.do(gorgonia.Mul(x, w)), shapeOf(n.Shape()))
	}
	each := channels / groups
	x := t.reshape(cols, tensor.Shape{examples * geo.Out, geo.Taps, groups, each})
	x = t.reshape(t.do(gorgonia.Transpose(x, 2, 0, 1, 3)), tensor.Shape{groups, examples * geo.Out, geo.Taps * each})
	w := t.reshape(in[1], tensor.Shape{geo.Taps, each, groups, out / groups})
	w = t.reshape(t.do(gorgonia.Transpose(w, 2, 0, 1, 3)), tensor.Shape{groups, geo.Taps * each, out / groups})
	y := t.do(gorgonia.Transpose(t.do(gorgonia.BatchedMatMul(x, w)), 1, 0, 2))
	return t.reshape(y, shapeOf(n.Shape()))
}

// along makes an axis of another size: its element i is element from(i) of that of x, and 0 where
// from(i) is -1.
func (t *translation) along(x *gorgonia.Node, axis, size int, what string, from func(i int) int) *gorgonia.Node {
	shape := x.Shape()
	old, inner := shape[axis], shape[axis+1:].TotalSize()
	outer := shape.TotalSize() / (old * inner)
	to := shape.Clone()
	to[axis] = size
	index := make([]int, size)
	same := size == old
	for i := range index {
		index[i] = from(i)
		same = same && index[i] == i
	}
	if same {
		return x
	}
	return t.apply(&linear{
		name: t.name(what), from: shape, to: to,
		apply: func(dst, src []float64) {
			for o := range outer {
				for i, p := range index {
					for j := 0; p >= 0 && j < inner; j++ {
						dst[(o*size+i)*inner+j] = src[(o*old+p)*inner+j]
					}
				}
			}
		},
		back: func(dst, src []float64) {
			for o := range outer {
				for i, p := range index {
					for j := 0; p >= 0 && j < inner; j++ {
						dst[(o*old+p)*inner+j] += src[(o*size+i)*inner+j]
					}
				}
			}
		},
	}, x)
}

// sparseRows multiplies the middle axis by a matrix, or by its transpose.
func sparseRows(dst, src []float64, s *graph.Sparse, outer, inner int, transposed bool) {
	for o := range outer {
		for r := range s.Rows {
			for e := s.Start[r]; e < s.Start[r+1]; e++ {
				to, from := o*s.Rows+r, o*s.Cols+int(s.Col[e])
				if transposed {
					to, from = o*s.Cols+int(s.Col[e]), o*s.Rows+r
				}
				for j := range inner {
					dst[to*inner+j] += s.Val[e] * src[from*inner+j]
				}
			}
		}
	}
}
