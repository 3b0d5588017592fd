package onnx

import (
	"math"
	"slices"

	"hessdens/internal/graph"
)

func recurrentOperators() map[string]operator {
	return map[string]operator{
		"RNN":  {least: 3, build: func(b *builder, n *node, in []*value) []*value { return b.recurrent(n, in, 1) }},
		"GRU":  {least: 3, build: func(b *builder, n *node, in []*value) []*value { return b.recurrent(n, in, 3) }},
		"LSTM": {least: 3, build: func(b *builder, n *node, in []*value) []*value { return b.recurrent(n, in, 4) }},
	}
}

// gate is an activation of a recurrent layer by its name.
func (b *builder) gate(name string, alpha, beta float64) func(x *graph.Node) *graph.Node {
	g := b.g
	pick := func(v, def float64) float64 {
		if math.IsNaN(v) {
			return def
		}
		return v
	}
	switch name {
	case "Sigmoid":
		return g.Sigmoid
	case "Tanh":
		return g.Tanh
	case "Relu":
		return g.Relu
	case "Softplus":
		return g.Softplus
	case "Softsign":
		return func(x *graph.Node) *graph.Node { return g.Div(x, g.AddC(g.Abs(x), 1)) }
	case "Affine":
		return func(x *graph.Node) *graph.Node { return g.AddC(g.Scale(x, pick(alpha, 1)), pick(beta, 0)) }
	case "LeakyRelu":
		return func(x *graph.Node) *graph.Node { return g.LeakyRelu(x, pick(alpha, 0.01)) }
	case "ThresholdedRelu":
		return func(x *graph.Node) *graph.Node {
			return g.Where(g.Step(g.AddC(x, -pick(alpha, 1))), x, g.Scalar(0))
		}
	case "ScaledTanh":
		return func(x *graph.Node) *graph.Node { return g.Scale(g.Tanh(g.Scale(x, pick(beta, 1))), pick(alpha, 1)) }
	case "HardSigmoid":
		return func(x *graph.Node) *graph.Node { return hardSigmoid(g, x, pick(alpha, 0.2), pick(beta, 0.5)) }
	case "Elu":
		return func(x *graph.Node) *graph.Node { return g.Elu(x, pick(alpha, 1)) }
	}
	b.fail("the activation %q", name)
	return nil
}

// recurrent unrolls a layer over its sequence. gates is how many the layer has: 1 for RNN, 3 for GRU, 4 for LSTM.
func (b *builder) recurrent(n *node, in []*value, gates int) []*value {
	g := b.g
	x, w, r := b.real(in[0]), b.real(in[1]), b.real(in[2])
	if x.Rank() != 3 || w.Rank() != 3 || r.Rank() != 3 {
		b.fail("shapes %v, %v and %v", x.Shape(), w.Shape(), r.Shape())
	}
	batchFirst := n.int("layout", 0) != 0
	if batchFirst {
		x = g.Transpose(x, 1, 0, 2)
	}
	steps, batch, size := x.Dim(0), x.Dim(1), x.Dim(2)
	h := r.Dim(2)
	direction := n.str("direction", "forward")
	dirs := 1
	if direction == "bidirectional" {
		dirs = 2
	}
	if !slices.Equal(w.Shape(), []int{dirs, gates * h, size}) || !slices.Equal(r.Shape(), []int{dirs, gates * h, h}) || steps > 1<<14 {
		b.fail("weights of %v and %v for an input of %v", w.Shape(), r.Shape(), x.Shape())
	}
	acts := n.strs("activations")
	if acts == nil {
		acts = map[int][]string{1: {"Tanh"}, 3: {"Sigmoid", "Tanh"}, 4: {"Sigmoid", "Tanh", "Tanh"}}[gates]
		if dirs == 2 {
			acts = slices.Concat(acts, acts)
		}
	}
	per := len(acts) / dirs
	if per*dirs != len(acts) || per != map[int]int{1: 1, 3: 2, 4: 3}[gates] {
		b.fail("%d activations", len(acts))
	}
	alphas, betas := n.floats("activation_alpha"), n.floats("activation_beta")
	number := func(v []float64, i int) float64 {
		if i < len(v) {
			return v[i]
		}
		return math.NaN()
	}
	var lens []int
	if v := opt(in, 4); v != nil {
		lens = b.list(v, "the lengths")
		if len(lens) != batch {
			b.fail("%d lengths for a batch of %d", len(lens), batch)
		}
		if !slices.ContainsFunc(lens, func(l int) bool { return l != steps }) {
			lens = nil
		}
	}
	initial := func(i int) *graph.Node { // [dirs, batch, h], nil for zeros
		v := opt(in, i)
		if v == nil {
			return nil
		}
		s := b.real(v)
		if batchFirst {
			s = g.Transpose(s, 1, 0, 2)
		}
		if !slices.Equal(s.Shape(), []int{dirs, batch, h}) {
			b.fail("an initial state of %v", v.shape)
		}
		return s
	}
	h0 := initial(5)
	var c0, peep *graph.Node
	if gates == 4 {
		c0 = initial(6)
		if v := opt(in, 7); v != nil {
			peep = g.Reshape(b.real(v), dirs, 3*h)
		}
	}
	part := func(t *graph.Node, axis, from, size int) *graph.Node {
		start, shape := make([]int, t.Rank()), slices.Clone(t.Shape())
		start[axis], shape[axis] = from, size
		return g.Slice(t, start, nil, shape)
	}
	cut := func(y *graph.Node) *graph.Node { return y }
	if c := n.float("clip", 0); c > 0 {
		cut = func(y *graph.Node) *graph.Node { return g.Max(g.Min(y, g.Scalar(c)), g.Scalar(-c)) }
	}
	var all [][]*graph.Node // of each direction, by step
	var lastH, lastC []*graph.Node
	for d := range dirs {
		act := make([]func(*graph.Node) *graph.Node, per)
		for i := range act {
			act[i] = b.gate(acts[d*per+i], number(alphas, d*per+i), number(betas, d*per+i))
		}
		wd := g.Transpose(g.Drop(part(w, 0, d, 1), 0), 1, 0) // [size, gates·h]
		rd := g.Transpose(g.Drop(part(r, 0, d, 1), 0), 1, 0)
		var wb, rb *graph.Node
		if v := opt(in, 3); v != nil {
			bd := g.Reshape(part(g.Reshape(b.real(v), dirs, 2*gates*h), 0, d, 1), 2*gates*h)
			wb, rb = part(bd, 0, 0, gates*h), part(bd, 0, gates*h, gates*h)
		}
		xw := g.Affine(g.Reshape(x, steps*batch, size), wd, wb)
		xw = g.Reshape(xw, steps, batch, gates*h)
		state := func(s *graph.Node) *graph.Node {
			if s == nil {
				return g.Broadcast(g.Reshape(g.Scalar(0), 1, 1), batch, h)
			}
			return g.Drop(part(s, 0, d, 1), 0)
		}
		hs, cs := state(h0), state(c0)
		outs := make([]*graph.Node, steps)
		backward := direction == "reverse" || d == 1
		for i := range steps {
			t := i
			if backward {
				t = steps - 1 - i
			}
			xt := g.Drop(part(xw, 0, t, 1), 0)
			var nh, nc *graph.Node
			slot := func(y *graph.Node, i int) *graph.Node { return part(y, 1, i*h, h) }
			switch gates {
			case 1:
				nh = act[0](cut(g.Add(xt, g.Affine(hs, rd, rb))))
			case 3:
				nh = b.gru(n, xt, hs, rd, rb, h, act, cut, slot)
			case 4:
				a := g.Add(xt, g.Affine(hs, rd, rb))
				look := func(y *graph.Node, i int, c *graph.Node) *graph.Node {
					if peep == nil {
						return y
					}
					p := g.Reshape(part(part(peep, 0, d, 1), 1, i*h, h), h)
					return g.Add(y, g.Mul(c, p))
				}
				it := act[0](cut(look(slot(a, 0), 0, cs)))
				ft := act[0](cut(look(slot(a, 2), 2, cs)))
				if n.int("input_forget", 0) != 0 {
					ft = g.AddC(g.Neg(it), 1)
				}
				nc = g.Add(g.Mul(ft, cs), g.Mul(it, act[1](cut(slot(a, 3)))))
				ot := act[0](cut(look(slot(a, 1), 1, nc)))
				nh = g.Mul(ot, act[2](nc))
			}
			outs[t] = nh
			if lens != nil { // past its end a sequence keeps its state and has outputs of zero
				live := b.plain(b.knownOf(dtBool, []int{batch, 1}, func(i int) float64 { return float64(truth(t < lens[i])) }))
				outs[t] = g.Where(live, nh, g.Scalar(0))
				nh = g.Where(live, nh, hs)
				if nc != nil {
					nc = g.Where(live, nc, cs)
				}
			}
			hs, cs = nh, nc
		}
		all = append(all, outs)
		lastH, lastC = append(lastH, hs), append(lastC, cs)
	}
	join := func(ns []*graph.Node) *value { // [dirs, batch, h]
		parts := make([]*graph.Node, len(ns))
		for i, s := range ns {
			parts[i] = g.Reshape(s, 1, batch, h)
		}
		y := g.Concat(0, parts...)
		if batchFirst {
			y = g.Transpose(y, 1, 0, 2)
		}
		return made(in[0].dt, y)
	}
	var seq []*graph.Node
	for t := range steps {
		for d := range dirs {
			seq = append(seq, g.Reshape(all[d][t], 1, batch, h))
		}
	}
	y := g.Reshape(g.Concat(0, seq...), steps, dirs, batch, h)
	if batchFirst {
		y = g.Transpose(y, 2, 0, 1, 3)
	}
	out := []*value{made(in[0].dt, y), join(lastH)}
	if gates == 4 {
		out = append(out, join(lastC))
	}
	return out
}

// gru is a step of a gated recurrent unit; gates lie in the order update, reset, hidden.
func (b *builder) gru(n *node, xt, hs, rd, rb *graph.Node, h int, act []func(*graph.Node) *graph.Node, cut func(*graph.Node) *graph.Node, slot func(*graph.Node, int) *graph.Node) *graph.Node {
	g := b.g
	cols := func(i, k int) *graph.Node { return g.Slice(rd, []int{0, i * h}, nil, []int{h, k * h}) }
	bias := func(i, k int) *graph.Node {
		if rb == nil {
			return nil
		}
		return g.Slice(rb, []int{i * h}, nil, []int{k * h})
	}
	zr := g.Affine(hs, cols(0, 2), bias(0, 2))
	z := act[0](cut(g.Add(slot(xt, 0), slot(zr, 0))))
	r := act[0](cut(g.Add(slot(xt, 1), slot(zr, 1))))
	var hidden *graph.Node
	if n.int("linear_before_reset", 0) != 0 {
		hidden = g.Mul(r, g.Affine(hs, cols(2, 1), bias(2, 1)))
	} else {
		hidden = g.Affine(g.Mul(r, hs), cols(2, 1), bias(2, 1))
	}
	c := act[1](cut(g.Add(slot(xt, 2), hidden)))
	return g.Add(g.Mul(g.AddC(g.Neg(z), 1), c), g.Mul(z, hs))
}
