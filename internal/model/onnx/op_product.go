package onnx

import (
	"slices"
	"strings"

	"hessdens/internal/graph"
)

func productOperators() map[string]operator {
	return map[string]operator{
		"MatMul": one(2, func(b *builder, _ *node, in []*value) *value { return b.matMul(in[0], in[1]) }),
		"Gemm":   one(2, gemm),
		"Einsum": one(1, einsum),
	}
}

// matMul multiplies as numpy does: the last two axes, others broadcast, one axis is a vector.
func (b *builder) matMul(x, y *value) *value {
	if x.rank() == 0 || y.rank() == 0 {
		b.fail("shapes %v and %v", x.shape, y.shape)
	}
	left, right := x.rank() == 1, y.rank() == 1
	if left {
		x = b.reshaped(x, []int{1, x.shape[0]})
	}
	if right {
		y = b.reshaped(y, []int{y.shape[0], 1})
	}
	z := b.matrices(x, y)
	shape := slices.Clone(z.shape)
	if right {
		shape = shape[:len(shape)-1]
	}
	if left {
		shape = slices.Delete(shape, len(z.shape)-2, len(z.shape)-1)
	}
	return b.reshaped(z, shape)
}

func (b *builder) matrices(x, y *value) *value {
	g := b.g
	m, k, n := x.dim(-2), x.dim(-1), y.dim(-1)
	if y.dim(-2) != k {
		b.fail("shapes %v and %v do not fit each other", x.shape, y.shape)
	}
	if y.rank() == 2 {
		shape := append(slices.Clone(x.shape[:x.rank()-1]), n)
		if x.form == flat {
			return made(x.dt, g.MatMul(b.flatRows(x), b.flatWeight(x, b.real(y), false), false, false))
		}
		z := g.MatMul(g.Reshape(b.real(x), x.size()/k, k), b.real(y), false, false)
		return made(x.dt, g.Reshape(z, shape...))
	}
	batch := b.broadcast(x.shape[:x.rank()-2], y.shape[:y.rank()-2])
	if x.rank() == 2 && len(batch) > 0 && count(batch) == 1 {
		z := g.MatMul(b.real(x), g.Reshape(b.real(y), k, n), false, false)
		return made(x.dt, g.Reshape(z, append(batch, m, n)...))
	}
	xs := b.expandTo(x, append(slices.Clone(batch), m, k))
	ys := b.expandTo(y, append(slices.Clone(batch), k, n))
	return made(x.dt, g.MatMul(b.real(xs), b.real(ys), false, false))
}

// flatRows is a flattened image as rows, in the order in which it lies: [N, P·C].
func (b *builder) flatRows(x *value) *graph.Node {
	return b.g.Reshape(x.n, x.shape[0], x.shape[1])
}

// flatWeight permutes a weight for flattened images to the order in which these lie, since it is there once and
// they are many: [K, n], or [n, K] where trans says so, to [K, n].
func (b *builder) flatWeight(x *value, w *graph.Node, trans bool) *graph.Node {
	g := b.g
	p, c := x.n.Dim(1), x.n.Dim(2)
	if trans {
		n := w.Dim(0)
		return g.Reshape(g.Transpose(g.Reshape(w, n, c, p), 2, 1, 0), p*c, n)
	}
	n := w.Dim(1)
	return g.Reshape(g.Transpose(g.Reshape(w, c, p, n), 1, 0, 2), p*c, n)
}

// gemm is alpha·A·B + beta·C.
func gemm(b *builder, n *node, in []*value) *value {
	x, y, g := in[0], in[1], b.g
	ta, tb := n.int("transA", 0) != 0, n.int("transB", 0) != 0
	if x.rank() != 2 || y.rank() != 2 {
		b.fail("shapes %v and %v, where matrices are needed", x.shape, y.shape)
	}
	k := y.shape[0]
	if tb {
		k = y.shape[1]
	}
	var z *graph.Node
	switch w := b.real(y); {
	case x.form == flat && !ta && k == x.shape[1]:
		z = g.MatMul(b.flatRows(x), b.flatWeight(x, w, tb), false, false)
	case tb: // transposed first, as graph.Linear does it
		z = g.MatMul(b.real(x), g.Transpose(w, 1, 0), ta, false)
	default:
		z = g.MatMul(b.real(x), w, ta, false)
	}
	z = g.Scale(z, n.float("alpha", 1))
	if c := opt(in, 2); c != nil && n.float("beta", 1) != 0 {
		b.broadcast(c.shape, z.Shape())
		z = g.Add(z, g.Scale(b.real(c), n.float("beta", 1)))
	}
	return made(x.dt, z)
}

// term is an operand of an Einsum with a letter for each axis.
type term struct {
	n      *graph.Node
	labels []rune
}

// einsum multiplies operands two at a time, from the left.
func einsum(b *builder, n *node, in []*value) *value {
	eq := strings.ReplaceAll(n.str("equation", ""), " ", "")
	left, right, explicit := strings.Cut(eq, "->")
	parts := strings.Split(left, ",")
	if len(parts) != len(in) {
		b.fail("%q has %d operands, and there are %d", eq, len(parts), len(in))
	}
	var terms []term
	const dots = 0xE000 // letters of the axes that ... stands for, from the last one on
	most := 0
	for i, p := range parts {
		if in[i] == nil {
			b.fail("operand %d is left out", i)
		}
		t := term{n: b.real(in[i])}
		before, after, has := strings.Cut(p, "...")
		t.labels = []rune(before)
		if has {
			extra := in[i].rank() - len([]rune(before)) - len([]rune(after))
			if extra < 0 {
				b.fail("%q for an operand of shape %v", eq, in[i].shape)
			}
			most = max(most, extra)
			for e := extra - 1; e >= 0; e-- {
				t.labels = append(t.labels, rune(dots+e))
			}
			t.labels = append(t.labels, []rune(after)...)
		}
		if len(t.labels) != in[i].rank() {
			b.fail("%q for an operand of shape %v", eq, in[i].shape)
		}
		terms = append(terms, b.diagonal(t))
	}
	size := map[rune]int{}
	uses := map[rune]int{}
	for _, t := range terms {
		for i, l := range t.labels {
			uses[l]++
			s := t.n.Dim(i)
			if old, ok := size[l]; ok && old != s && old != 1 && s != 1 {
				b.fail("%q: axis %c has sizes %d and %d", eq, l, old, s)
			}
			size[l] = max(size[l], s)
		}
	}
	var out []rune
	for e := most - 1; e >= 0; e-- {
		if !explicit || strings.Contains(right, "...") {
			out = append(out, rune(dots+e))
		}
	}
	if explicit {
		before, after, _ := strings.Cut(right, "...")
		if !strings.Contains(right, "...") {
			before, after = right, ""
		}
		out = slices.Concat([]rune(before), out, []rune(after))
	} else {
		var once []rune
		for l, k := range uses {
			if k == 1 && l < dots && strings.Count(left, string(l)) == 1 {
				once = append(once, l)
			}
		}
		slices.Sort(once)
		out = append(out, once...)
	}
	for i, l := range out {
		if size[l] == 0 || slices.Contains(out[:i], l) {
			b.fail("%q has no such output", eq)
		}
	}
	t := terms[0]
	for i := 1; i <= len(terms); i++ {
		keep := map[rune]bool{}
		for _, l := range out {
			keep[l] = true
		}
		for _, r := range terms[min(i, len(terms)):] {
			for _, l := range r.labels {
				keep[l] = true
			}
		}
		if i == len(terms) {
			t = b.sumOut(t, keep)
			break
		}
		later := map[rune]bool{}
		for _, l := range out {
			later[l] = true
		}
		for _, r := range terms[i+1:] {
			for _, l := range r.labels {
				later[l] = true
			}
		}
		t = b.contract(t, terms[i], later, size)
	}
	perm := make([]int, len(out))
	for i, l := range out {
		perm[i] = slices.Index(t.labels, l)
	}
	return made(in[0].dt, b.g.Transpose(t.n, perm...))
}

// diagonal joins axes that have the same letter.
func (b *builder) diagonal(t term) term {
	for i, l := range t.labels {
		j := slices.Index(t.labels[:i], l)
		if j < 0 {
			continue
		}
		if t.n.Dim(i) != t.n.Dim(j) {
			b.fail("a diagonal of %v", t.n.Shape())
		}
		shape := slices.Delete(slices.Clone(t.n.Shape()), i, i+1)
		v := b.pick([]*value{made(dtFloat, t.n)}, b.arange(t.n.Shape()).build(b, shape, func(to, at []int) bool {
			copy(at, to[:i])
			copy(at[i+1:], to[i:])
			at[i] = to[j]
			return true
		}))
		return b.diagonal(term{b.real(v), slices.Delete(slices.Clone(t.labels), i, i+1)})
	}
	return t
}

// sumOut adds up over axes that are not kept.
func (b *builder) sumOut(t term, keep map[rune]bool) term {
	var axes []int
	var labels []rune
	for i, l := range t.labels {
		if keep[l] {
			labels = append(labels, l)
		} else {
			axes = append(axes, i)
		}
	}
	if len(axes) == 0 {
		return t
	}
	return term{b.g.Drop(b.g.Sum(t.n, axes...), axes...), labels}
}

// contract multiplies two operands as matrices: axes of both that are kept count batches, the rest of both are summed over.
func (b *builder) contract(x, y term, later map[rune]bool, size map[rune]int) term {
	g := b.g
	in := func(t term, l rune) bool { return slices.Contains(t.labels, l) }
	keep := func(o term) map[rune]bool {
		k := map[rune]bool{}
		for l := range later {
			k[l] = true
		}
		for _, l := range o.labels {
			k[l] = true
		}
		return k
	}
	x, y = b.sumOut(x, keep(y)), b.sumOut(y, keep(x))
	var batch, inner, fx, fy []rune
	for _, l := range x.labels {
		switch {
		case in(y, l) && later[l]:
			batch = append(batch, l)
		case in(y, l):
			inner = append(inner, l)
		default:
			fx = append(fx, l)
		}
	}
	for _, l := range y.labels {
		if !in(x, l) {
			fy = append(fy, l)
		}
	}
	product := func(ls []rune) int {
		n := 1
		for _, l := range ls {
			n *= size[l]
		}
		return n
	}
	arrange := func(t term, own []rune, first bool) *graph.Node {
		order := slices.Concat(batch, own, inner)
		if !first {
			order = slices.Concat(batch, inner, own)
		}
		perm, shape := make([]int, len(order)), make([]int, len(order))
		for i, l := range order {
			perm[i], shape[i] = slices.Index(t.labels, l), size[l]
			if slices.Contains(own, l) {
				shape[i] = t.n.Dim(perm[i])
			}
		}
		n := g.Broadcast(g.Transpose(t.n, perm...), shape...)
		if first {
			return g.Reshape(n, product(batch), product(own), product(inner))
		}
		return g.Reshape(n, product(batch), product(inner), product(own))
	}
	z := g.MatMul(arrange(x, fx, true), arrange(y, fy, false), false, false)
	labels := slices.Concat(batch, fx, fy)
	shape := make([]int, len(labels))
	for i, l := range labels {
		shape[i] = size[l]
	}
	return term{g.Reshape(z, shape...), labels}
}
