package onnx

import (
	"math"
	"slices"

	"hessdens/internal/graph"
)

func attentionOperators() map[string]operator {
	return map[string]operator{
		"Attention":       {least: 3, build: attention},
		"RotaryEmbedding": one(3, rotary),
	}
}

// heads is a value [B, T, H·D] or [B, H, T, D] as the latter.
func (b *builder) heads(v *value, heads int) *graph.Node {
	x := b.real(v)
	if v.rank() == 4 {
		return x
	}
	if v.rank() != 3 || heads < 1 || v.shape[2]%heads != 0 {
		b.fail("%d heads of %v", heads, v.shape)
	}
	return b.g.Transpose(b.g.Reshape(x, v.shape[0], v.shape[1], heads, v.shape[2]/heads), 0, 2, 1, 3)
}

// attention is softmax(scale·QKᵀ + mask)·V, several heads of queries sharing one of keys where there are fewer of these.
// A query that may see no key gives zeros.
func attention(b *builder, n *node, in []*value) []*value {
	g, dt := b.g, in[0].dt
	q, k, v := b.heads(in[0], n.int("q_num_heads", 0)), b.heads(in[1], n.int("kv_num_heads", 0)), b.heads(in[2], n.int("kv_num_heads", 0))
	past := 0
	if pk, pv := opt(in, 4), opt(in, 5); pk != nil && pv != nil {
		past = pk.dim(2)
		k, v = g.Concat(2, b.real(pk), k), g.Concat(2, b.real(pv), v)
	}
	present := []*graph.Node{k, v}
	heads, tq, tk, d := q.Dim(1), q.Dim(2), k.Dim(2), q.Dim(3)
	if kv := k.Dim(1); kv != heads {
		if kv < 1 || heads%kv != 0 {
			b.fail("%d heads of queries and %d of keys", heads, kv)
		}
		repeat := func(x *graph.Node) *graph.Node {
			s := x.Shape()
			x = g.Broadcast(g.Reshape(x, s[0], kv, 1, s[2], s[3]), s[0], kv, heads/kv, s[2], s[3])
			return g.Reshape(x, s[0], heads, s[2], s[3])
		}
		k, v = repeat(k), repeat(v)
	}
	scale := n.float("scale", 0)
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(d))
	}
	scores := g.Scale(g.MatMul(q, k, false, true), scale)
	if most := n.float("softcap", 0); most > 0 {
		scores = g.Scale(g.Tanh(g.Scale(scores, 1/most)), most)
	}
	raw := scores
	add, allowed := b.visible(n, in, scores.Dim(0), tq, tk, past)
	if add != nil {
		scores = g.Add(scores, b.real(add))
	}
	biased := scores
	var p *graph.Node
	if allowed == nil {
		p = g.Softmax(scores)
	} else {
		scores = g.Where(b.real(allowed), scores, g.Scalar(math.Inf(-1)))
		biased = scores
		if b.someRowEmpty(allowed) {
			any := g.ReduceMax(b.real(allowed), -1)
			p = g.Where(any, g.Softmax(g.Where(any, scores, g.Scalar(0))), g.Scalar(0))
		} else {
			p = g.Softmax(scores)
		}
	}
	y := g.MatMul(p, v, false, false)
	if in[0].rank() == 3 {
		y = g.Reshape(g.Transpose(y, 0, 2, 1, 3), y.Dim(0), tq, heads*v.Dim(3))
	}
	seen := map[int]*graph.Node{0: raw, 1: raw, 2: biased, 3: p}[n.int("qk_matmul_output_mode", 0)]
	if seen == nil {
		b.fail("qk_matmul_output_mode is %d", n.int("qk_matmul_output_mode", 0))
	}
	return []*value{made(dt, y), made(dt, present[0]), made(dt, present[1]), made(dt, seen)}
}

// visible is what is added to the scores, and which keys a query may see; nil for nothing and for all.
func (b *builder) visible(n *node, in []*value, batch, tq, tk, past int) (add, allowed *value) {
	and := func(x *value) {
		if allowed == nil {
			allowed = x
			return
		}
		allowed = b.binary(allowed, x, dtBool, func(x, y float64) float64 { return float64(truth(x != 0 && y != 0)) }, nil, b.g.Mul)
	}
	if m := opt(in, 3); m != nil {
		if m.rank() < 1 || m.dim(-1) > tk {
			b.fail("a mask of shape %v for %d keys", m.shape, tk)
		}
		low, high := make([]int, m.rank()), make([]int, m.rank())
		high[m.rank()-1] = tk - m.dim(-1)
		if m.dt == dtBool {
			and(b.padded(m, low, high, "constant", 0))
		} else {
			add = b.padded(m, low, high, "constant", math.Inf(-1))
			finite := b.unary(add, func(x float64) float64 { return float64(truth(!math.IsInf(x, -1))) }, func(x *graph.Node) *graph.Node {
				return b.g.AddC(b.g.Neg(b.g.Equal(x, b.g.Scalar(math.Inf(-1)))), 1)
			})
			finite.dt = dtBool
			if finite.c == nil || slices.ContainsFunc(finite.c.f, func(x float64) bool { return x == 0 }) {
				and(finite)
			}
		}
	}
	before := []int{past} // keys before the block of queries, of each example
	if v := opt(in, 6); v != nil {
		lens := b.list(v, "the lengths")
		if len(lens) != batch {
			b.fail("%d lengths for a batch of %d", len(lens), batch)
		}
		and(b.knownOf(dtBool, []int{batch, 1, 1, tk}, func(i int) float64 { return float64(truth(i%tk < lens[i/tk])) }))
		if past == 0 {
			before = lens
			for i := range before {
				before[i] -= tq
			}
		}
	}
	causal, left, right := n.int("is_causal", 0) != 0, n.int("left_window_size", -1), n.int("right_window_size", -1)
	if causal || left >= 0 || right >= 0 {
		and(b.knownOf(dtBool, []int{len(before), 1, tq, tk}, func(i int) float64 {
			ahead := i%tk - i/tk%tq - before[i/(tk*tq)] // of a key
			return float64(truth(!(causal && ahead > 0 || left >= 0 && -ahead > left || right >= 0 && ahead > right)))
		}))
	}
	return add, allowed
}

// someRowEmpty says whether a query may see no key, as far as is known.
func (b *builder) someRowEmpty(allowed *value) bool {
	if allowed.c == nil {
		return true
	}
	k := allowed.dim(-1)
	for i := 0; i < allowed.size(); i += k {
		any := false
		for j := range k {
			any = any || allowed.c.at(i+j) != 0
		}
		if !any {
			return true
		}
	}
	return false
}

// rotary turns pairs of channels by the angles of their positions.
func rotary(b *builder, n *node, in []*value) *value {
	g, x := b.g, in[0]
	y := b.heads(x, max(n.int("num_heads", 0), 1))
	bs, h, t, d := y.Dim(0), y.Dim(1), y.Dim(2), y.Dim(3)
	r := n.int("rotary_embedding_dim", 0)
	if r == 0 {
		r = d
	}
	half := r / 2
	if half < 1 || r > d {
		b.fail("%d rotated of %d", r, d)
	}
	table := func(v *value) *graph.Node { // to [B or 1, 1, T, r/2]
		if ids := opt(in, 3); ids != nil {
			v = b.gatherAxis(v, ids, 0)
		}
		c := b.real(v)
		if c.Rank() != 3 || c.Dim(1) != t || c.Dim(2) != half {
			b.fail("a table of %v for positions %d and %d angles", v.shape, t, half)
		}
		return g.Reshape(c, c.Dim(0), 1, t, half)
	}
	cos, sin := table(in[1]), table(in[2])
	piece := func(from, step, k int) *graph.Node {
		return g.Slice(y, []int{0, 0, 0, from}, []int{1, 1, 1, step}, []int{bs, h, t, k})
	}
	interleaved := n.int("interleaved", 0) != 0
	var p, q *graph.Node
	if interleaved {
		p, q = piece(0, 2, half), piece(1, 2, half)
	} else {
		p, q = piece(0, 1, half), piece(half, 1, half)
	}
	u, v := g.Sub(g.Mul(p, cos), g.Mul(q, sin)), g.Add(g.Mul(p, sin), g.Mul(q, cos))
	var z *graph.Node
	if interleaved {
		z = g.Reshape(g.Concat(4, g.Reshape(u, bs, h, t, half, 1), g.Reshape(v, bs, h, t, half, 1)), bs, h, t, 2*half)
	} else {
		z = g.Concat(3, u, v)
	}
	if r < d {
		z = g.Concat(3, z, piece(r, 1, d-r))
	}
	if x.rank() == 3 {
		z = g.Reshape(g.Transpose(z, 0, 2, 1, 3), bs, t, h*d)
	}
	return made(x.dt, z)
}
