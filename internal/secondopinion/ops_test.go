package secondopinion

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"hessdens/internal/graph"
)

var shapes = [][]int{{}, {1}, {6}, {1, 1}, {1, 4}, {4, 1}, {3, 4}, {2, 3, 2}, {2, 1, 3}, {1, 2, 1, 3}}

// TestPointwise holds every pointwise operation to Op.Eval and to differences of it, on shapes of
// rank 0 to 4 with axes of size 1.
func TestPointwise(t *testing.T) {
	type G = graph.Graph
	type N = graph.Node
	one := func(f func(g *G, x *N) *N) func(*G, *N, *N, *N) *N {
		return func(g *G, x, _, _ *N) *N { return f(g, x) }
	}
	two := func(f func(g *G, x, y *N) *N) func(*G, *N, *N, *N) *N {
		return func(g *G, x, y, _ *N) *N { return f(g, x, y) }
	}
	rng := rand.New(rand.NewPCG(1, 1))
	normal := rng.NormFloat64
	positive := func() float64 { return 0.3 + rng.Float64() }
	wide := func() float64 { return 30 * rng.NormFloat64() }
	away := func() float64 { // from kinks
		for {
			if x := normal(); math.Abs(x) > 0.01 {
				return x
			}
		}
	}
	for _, c := range []struct {
		op    graph.Op
		build func(g *G, x, y, z *N) *N
		draw  func() float64
	}{
		{graph.OpAbs, one((*G).Abs), away},
		{graph.OpSign, one(func(g *G, x *N) *N { return g.Mul(g.Sign(x), x) }), away},
		{graph.OpStep, one(func(g *G, x *N) *N { return g.Mul(g.Step(x), x) }), away},
		{graph.OpRelu, one((*G).Relu), away},
		{graph.OpExp, one((*G).Exp), normal},
		{graph.OpLog, one((*G).Log), positive},
		{graph.OpSqrt, one((*G).Sqrt), positive},
		{graph.OpRsqrt, one((*G).Rsqrt), positive},
		{graph.OpRecip, one((*G).Recip), positive},
		{graph.OpTanh, one((*G).Tanh), normal},
		{graph.OpSigmoid, one((*G).Sigmoid), normal},
		{graph.OpSigmoid, one((*G).Sigmoid), wide},
		{graph.OpSigmoid, one(func(g *G, x *N) *N { return g.Scale(g.Log(g.Sigmoid(x)), 0.01) }), wide},
		{graph.OpSoftplus, one((*G).Softplus), normal},
		{graph.OpSoftplus, one(func(g *G, x *N) *N { return g.Scale(g.Softplus(x), 0.01) }), wide},
		{graph.OpErf, one((*G).Erf), normal},
		{graph.OpSin, one((*G).Sin), normal},
		{graph.OpCos, one((*G).Cos), normal},
		{graph.OpPowC, one(func(g *G, x *N) *N { return g.PowC(x, 2.5) }), positive},
		{graph.OpPowC, one(func(g *G, x *N) *N { return g.PowC(x, 3) }), away},
		{graph.OpPowC, one(func(g *G, x *N) *N { return g.PowC(x, -2) }), positive},
		{graph.OpScale, one(func(g *G, x *N) *N { return g.Scale(x, -1.5) }), normal},
		{graph.OpAddC, one(func(g *G, x *N) *N { return g.AddC(x, 1) }), normal},
		{graph.OpLog, one(func(g *G, x *N) *N { s := g.AddC(x, 1); return g.Mul(g.Log(s), s) }), positive},
		{graph.OpAdd, two((*G).Add), normal},
		{graph.OpAdd, two(func(g *G, x, _ *N) *N { return g.Add(x, x) }), normal},
		{graph.OpSub, two((*G).Sub), normal},
		{graph.OpSub, two(func(g *G, x, y *N) *N { e := g.Exp(x); return g.Mul(g.Sub(e, y), e) }), normal},
		{graph.OpMul, two((*G).Mul), normal},
		{graph.OpMul, two(func(g *G, x, _ *N) *N { return g.Mul(x, x) }), normal},
		{graph.OpDiv, two((*G).Div), positive},
		{graph.OpMax, two((*G).Max), normal},
		{graph.OpMin, two((*G).Min), normal},
		{graph.OpPow, two((*G).Pow), positive},
		{graph.OpLess, two(func(g *G, x, y *N) *N { return g.Mul(g.Less(x, y), x) }), normal},
		{graph.OpEqual, two(func(g *G, x, y *N) *N { return g.Mul(g.Equal(g.Step(x), g.Step(y)), x) }), away},
		{graph.OpWhere, func(g *G, x, y, z *N) *N { return g.Where(g.Step(z), x, g.Mul(y, z)) }, away},
		{graph.OpDetach, two(func(g *G, x, y *N) *N {
			d := g.Detach(g.Exp(x))
			return g.Sub(g.Mul(x, y), g.Sub(d, d)) // d has no part in the value
		}), normal},
	} {
		if !c.op.Pointwise() {
			t.Errorf("%v is no pointwise operation", c.op)
		}
		for _, shape := range shapes {
			t.Run(fmt.Sprint(c.op, shape), func(t *testing.T) {
				g := graph.New()
				y := c.build(g, g.Param("x", shape...), g.Param("y", shape...), g.Param("z", shape...))
				check(t, problem(g, y, rng, c.draw))
			})
		}
	}
}

// TestDerivativeAtKink: as in package graph, derivatives at 0 are 0, and of a tie the first's.
func TestDerivativeAtKink(t *testing.T) {
	g := graph.New()
	x, y := g.Param("x", 1), g.Param("y", 1)
	for _, c := range []struct {
		f    *graph.Node
		want string
	}{
		{g.Relu(x), "[[0] [0]]"}, {g.Abs(x), "[[0] [0]]"}, {g.Max(x, y), "[[1] [0]]"}, {g.Min(x, y), "[[1] [0]]"}, {g.Sigmoid(x), "[[0.25] [0]]"},
		{g.Softplus(x), "[[0.5] [0]]"},
	} {
		m, err := New(Problem{Loss: c.f, Leaves: map[*graph.Node][]float64{x: {0}, y: {0}}, Wrt: []*graph.Node{x, y}})
		if err != nil {
			t.Fatal(err)
		}
		if _, grads, err := m.Gradient(nil); err != nil || fmt.Sprint(grads) != c.want {
			t.Errorf("%v: gradients %v, want %s (%v)", c.f, grads, c.want, err)
		}
	}
}

// TestLayout holds every other operation to loops.
func TestLayout(t *testing.T) {
	type G = graph.Graph
	type N = graph.Node
	rng := rand.New(rand.NewPCG(2, 1))
	run := func(name string, build func(g *G) *N) {
		t.Run(name, func(t *testing.T) {
			g := graph.New()
			check(t, problem(g, build(g), rng, rng.NormFloat64))
		})
	}
	for _, s := range shapes {
		for axes := 1; axes < 1<<len(s); axes++ {
			var over []int
			for a := range s {
				if axes>>a&1 == 1 {
					over = append(over, a)
				}
			}
			run(fmt.Sprint("sum", s, over), func(g *G) *N { x := g.Param("x", s...); return g.Mul(g.Sum(g.Mul(x, x), over...), g.Sum(x, over...)) })
		}
	}
	for _, c := range [][2][]int{{{1}, {5}}, {{1, 1}, {3, 2}}, {{1, 4}, {3, 4}}, {{3, 1}, {3, 4}}, {{1, 1, 4}, {2, 3, 4}}, {{2, 1, 1}, {2, 3, 4}}, {{1, 3, 1}, {2, 3, 4}},
		{{1, 1, 1}, {1, 3, 1}}, {{2, 1, 3, 1}, {2, 2, 3, 2}}, {{1, 2, 1, 2}, {3, 2, 3, 2}}, {{1, 2, 1, 2, 1}, {2, 2, 2, 2, 2}}, {{1, 4}, {300, 4}}} {
		run(fmt.Sprint("broadcast", c), func(g *G) *N {
			x := g.Param("x", c[0]...)
			y := g.Broadcast(g.Mul(x, x), c[1]...)
			return g.Mul(y, g.Exp(g.Scale(y, 0.1)))
		})
	}
	for _, c := range [][2][]int{{{3, 4}, {1, 0}}, {{1, 4}, {1, 0}}, {{4, 1}, {1, 0}}, {{1, 1}, {1, 0}}, {{2, 3, 4}, {0, 2, 1}}, {{2, 3, 4}, {2, 0, 1}}, {{2, 3, 4}, {1, 2, 0}},
		{{2, 1, 4}, {1, 2, 0}}, {{2, 3, 2, 2}, {0, 2, 1, 3}}, {{2, 3, 1, 2}, {3, 1, 0, 2}}, {{2, 3, 1, 2, 2}, {4, 1, 3, 0, 2}}} {
		run(fmt.Sprint("transpose", c), func(g *G) *N {
			x := g.Param("x", c[0]...)
			y := g.Transpose(g.Mul(x, x), c[1]...)
			z := g.Mul(y, g.Param("y", y.Shape()...))
			return g.Mul(g.Reshape(z, z.Size()), g.Reshape(g.Tanh(y), z.Size()))
		})
	}
	run("reshape", func(g *G) *N {
		x := g.Param("x", 3, 4)
		y := g.Mul(x, x)
		r := g.Reshape(y, 2, 6)
		return g.Add(g.Reshape(g.Tanh(r), 3, 4), g.Add(y, g.Reshape(g.Neg(r), 3, 4)))
	})
	run("reshape to a scalar", func(g *G) *N { return g.Exp(g.Reshape(g.Param("x", 1, 1))) })
	run("slice", func(g *G) *N {
		return g.Slice(g.Param("x", 5, 4), []int{3, 0}, []int{-2, 3}, []int{2, 2})
	})
	run("slices 256 apart", func(g *G) *N {
		x := g.Param("x", 600)
		return g.Sub(g.Slice(x, []int{1}, nil, []int{2}), g.Scale(g.Slice(x, []int{257}, nil, []int{2}), 2))
	})
	run("pad", func(g *G) *N { return g.Pad(g.Param("x", 3, 2), []int{1, 0}, []int{0, 2}, []int{1, 2}) })
	run("concat", func(g *G) *N { return g.Concat(1, g.Param("x", 2, 3), g.Param("y", 2, 1), g.Param("x", 2, 3)) })
	for _, mkn := range [][3]int{{3, 4, 5}, {1, 4, 5}, {3, 1, 5}, {3, 4, 1}, {1, 1, 5}, {3, 1, 1}, {1, 4, 1}, {1, 1, 1}, {2, 2, 2}} {
		for trans := range 4 {
			for _, outer := range [][]int{{}, {1}, {2}, {2, 3}, {2, 1}} {
				run(fmt.Sprint("matmul", mkn, trans, outer), func(g *G) *N {
					a, b := append(outer[:len(outer):len(outer)], mkn[0], mkn[1]), append(outer[:len(outer):len(outer)], mkn[1], mkn[2])
					r := len(outer)
					if trans&1 != 0 {
						a[r], a[r+1] = a[r+1], a[r]
					}
					if trans&2 != 0 {
						b[r], b[r+1] = b[r+1], b[r]
					}
					x, y := g.Param("x", a...), g.Param("y", b...)
					z := g.MatMul(x, y, trans&1 != 0, trans&2 != 0)
					return g.Add(z, g.Broadcast(g.Reshape(g.Mul(g.Sum(g.Reshape(x, x.Size()), 0), g.Sum(g.Reshape(y, y.Size()), 0)), ones(z.Rank())...), z.Shape()...))
				})
			}
		}
	}
	// Both operands one value: x·x, and a gradient that is an operand.
	run("square matrix", func(g *G) *N { x := g.Param("x", 3, 3); return g.MatMul(x, x, false, false) })
	run("gram matrix", func(g *G) *N { x := g.Param("x", 3, 3); return g.MatMul(x, x, true, false) })
	run("batched gram", func(g *G) *N { x := g.Param("x", 2, 3, 3); return g.MatMul(x, x, true, false) })
	for _, groups := range []int{1, 2} {
		for _, w := range []graph.Window{graph.Square(5, 5, 3, 1, 0), graph.Square(6, 6, 3, 2, 1), graph.Square(4, 4, 1, 1, 0), graph.Square(5, 5, 2, 2, 0),
			{Size: []int{7}, Kernel: []int{3}, Stride: []int{1}, Dilation: []int{2}, Low: []int{2}, High: []int{1}}} {
			w.Groups = groups
			run(fmt.Sprint("conv", w), func(g *G) *N {
				geo := g.Geometry(w)
				return g.Conv(g.Param("x", 2, geo.In, 2*groups), g.Param("w", geo.Taps, 2, 3*groups), geo)
			})
		}
	}
	run("average pool", func(g *G) *N {
		geo := g.Geometry(graph.Square(5, 5, 3, 2, 1))
		return g.AvgPool(g.Param("x", 2, 25, 3), geo, false)
	})
	t.Run("max pool", func(t *testing.T) {
		g := graph.New()
		y := g.MaxPool(g.Exp(g.Param("x", 2, 25, 3)), g.Geometry(graph.Square(5, 5, 3, 2, 1)))
		order := rng.Perm(2 * 25 * 3) // no two values are near each other
		check(t, problem(g, y, rng, func() float64 {
			v := 0.02 * float64(order[0]-75)
			order = order[1:]
			return v
		}))
	})
	run("reduce max", func(g *G) *N { return g.ReduceMax(g.Param("x", 3, 4), 1) })
	run("gather", func(g *G) *N {
		x := g.Param("x", 5, 3)
		return g.Gather(g.Mul(x, x), g.ConstInt([]int64{4, 0, 4, 2}, 2, 2))
	})
	run("softmax", func(g *G) *N { return g.Softmax(g.Param("x", 3, 4)) })
	run("layer norm", func(g *G) *N { return g.LayerNorm(g.Param("x", 3, 4), g.Param("a", 4), g.Param("b", 4), 1e-5) })
	run("batch norm", func(g *G) *N { return g.BatchNormBatch(g.Param("x", 5, 4), g.Param("a", 4), g.Param("b", 4), 1e-5) })
	run("gelu", func(g *G) *N { return g.GELU(g.Param("x", 3, 4)) })
	run("gelu by tanh", func(g *G) *N { return g.GELUTanh(g.Param("x", 3, 4)) })
	run("silu", func(g *G) *N { return g.SiLU(g.Param("x", 3, 4)) })
	run("leaky relu", func(g *G) *N { return g.LeakyRelu(g.Param("x", 3, 4), 0.1) })
	run("elu", func(g *G) *N { return g.Elu(g.Param("x", 3, 4), 0.7) })
}

func ones(rank int) []int {
	s := make([]int, rank)
	for i := range s {
		s[i] = 1
	}
	return s
}

// TestRandomGraphs holds random graphs, whose nodes are used several times, to differences: the
// order in which contributions to a gradient arrive, equal expressions and shared memory all vary.
func TestRandomGraphs(t *testing.T) {
	const graphs = 150
	for seed := range uint64(graphs) {
		rng := rand.New(rand.NewPCG(seed, 5))
		g := graph.New()
		pool := []*graph.Node{g.Param("a", 3, 4), g.Param("b", 3, 4), g.Param("c", 4, 4), g.Param("d", 1, 4), g.Param("e", 3, 1)}
		pick := func() *graph.Node { return pool[rng.IntN(len(pool))] }
		for range 14 {
			x, y := pick(), pick()
			var z *graph.Node
			switch rng.IntN(14) {
			case 0:
				z = g.Tanh(x)
			case 1:
				z = g.Sigmoid(x)
			case 2:
				z = g.Exp(g.Neg(g.Mul(x, x)))
			case 3:
				z = g.Log(g.AddC(g.Mul(x, x), 1))
			case 4:
				z = g.Transpose(x, 1, 0)
			case 5:
				z = g.Reshape(x, x.Dim(1), x.Dim(0))
			case 6:
				z = g.Sum(x, rng.IntN(2))
			case 7:
				z = g.Softplus(x)
			case 8:
				z = g.Rsqrt(g.AddC(g.Mul(x, x), 0.5))
			case 9, 10:
				switch {
				case x.Dim(1) == y.Dim(0):
					z = g.MatMul(x, y, false, false)
				case x.Dim(1) == y.Dim(1):
					z = g.MatMul(x, y, false, true)
				case x.Dim(0) == y.Dim(0):
					z = g.MatMul(x, y, true, false)
				default:
					continue
				}
				z = g.Tanh(z)
			default:
				err := graph.Catch(func() error {
					switch rng.IntN(3) {
					case 0:
						z = g.Add(x, y)
					case 1:
						z = g.Sub(x, y)
					default:
						z = g.Mul(x, y)
					}
					return nil
				})
				if err != nil {
					continue
				}
				z = g.Sin(z)
			}
			pool = append(pool, z)
		}
		var sum *graph.Node
		for _, x := range pool[len(pool)-4:] {
			s := g.Sum(g.Sin(x), 0, 1)
			if sum == nil {
				sum = s
			} else {
				sum = g.Add(sum, s)
			}
		}
		p := problem(g, sum, rng, rng.NormFloat64)
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) { check(t, p) })
		if !ok {
			for _, n := range g.Nodes() {
				t.Log(n)
			}
			return
		}
	}
}
