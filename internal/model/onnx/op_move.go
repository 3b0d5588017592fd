package onnx

import (
	"fmt"
	"slices"

	"hessdens/internal/graph"
)

func moveOperators() map[string]operator {
	return map[string]operator{
		"Gather":          one(2, gather),
		"GatherElements":  one(2, gatherElements),
		"GatherND":        one(2, gatherND),
		"Scatter":         one(3, scatterElements),
		"ScatterElements": one(3, scatterElements),
		"ScatterND":       one(3, scatterND),
		"Pad":             one(1, pad),
		"DepthToSpace":    one(1, depthToSpace),
		"SpaceToDepth":    one(1, spaceToDepth),
		"Compress":        one(2, compress),
		"ReverseSequence": one(2, reverseSequence),
		"CumSum":          one(2, cumSum),
		"CenterCropPad":   one(2, centerCropPad),
	}
}

// positions are indices along an axis of some size, negative ones counted from its end.
func (b *builder) positions(v *value, size int) []int {
	at := b.list(v, "the indices")
	for i, p := range at {
		if p < 0 {
			p += size
		}
		if p < 0 || p >= size {
			b.fail("index %d on an axis of %d", at[i], size)
		}
		at[i] = p
	}
	return at
}

// rows is the indices as a node of integers.
func (b *builder) rows(v *value, size int) *graph.Node {
	if v.c == nil {
		b.name(v.n, size)
		return b.plain(v)
	}
	at := b.positions(v, size)
	ids := make([]int64, len(at))
	for i, p := range at {
		ids[i] = int64(p)
	}
	if len(ids) == 0 {
		b.fail("no indices")
	}
	return b.g.ConstInt(ids, v.shape...)
}

// name notes that integers name rows of a table of some size: they come from the input or the targets as they are, or from where one is
// replaced.
func (b *builder) name(n *graph.Node, size int) {
	for {
		switch n.Op() {
		case graph.OpReshape, graph.OpReal, graph.OpTranspose, graph.OpBroadcast, graph.OpSlice, graph.OpPad:
			n = n.Inputs()[0]
			continue
		case graph.OpWhere:
			b.name(n.Inputs()[1], size)
			n = n.Inputs()[2]
			continue
		case graph.OpInput:
			limit := &b.vocab
			if n == b.target {
				limit = &b.labels
			}
			if *limit == 0 || size < *limit {
				*limit = size
			}
		}
		return
	}
}

// hot is 1 at the position that each number names along a new last axis, negative ones counted from its end.
func (b *builder) hot(ids *value, size int) *graph.Node {
	g := b.g
	x := b.real(ids)
	b.checkShape(append(slices.Clone(x.Shape()), size))
	b.bound([]int{2 * size})
	b.name(x, size)
	at, end := make([]float64, size), make([]float64, size)
	for i := range at {
		at[i], end[i] = float64(i), float64(i-size)
	}
	x = g.Reshape(x, append(slices.Clone(x.Shape()), 1)...)
	return g.Add(g.Equal(x, g.Const(at, size)), g.Equal(x, g.Const(end, size)))
}

// computed says whether indices are computed from integers of the input, and so are real numbers.
func computed(ids *value) bool { return ids.c == nil && ids.n.Kind() == graph.Float }

func gather(b *builder, n *node, in []*value) *value {
	x, ids := in[0], in[1]
	axis := b.axis(n.int("axis", 0), x.rank())
	return b.gatherAxis(x, ids, axis)
}

func (b *builder) gatherAxis(x, ids *value, axis int) *value {
	shape := slices.Concat(x.shape[:axis], ids.shape, x.shape[axis+1:])
	b.checkShape(shape)
	if x.c != nil && ids.c != nil {
		at := b.positions(ids, x.shape[axis])
		tail, k := count(x.shape[axis+1:]), len(at)
		b.bound(shape)
		y := index{shape, make([]int, count(shape))}
		for i := range y.at {
			y.at[i] = (i/(tail*k)*x.shape[axis]+at[i/tail%k])*tail + i%tail
		}
		return b.pick([]*value{x}, y)
	}
	if x.c != nil && !isFloat(x.dt) {
		b.fail("integers that depend on the input")
	}
	if ids.c != nil && ids.size() == 1 { // one position is a slice
		start, step, one := make([]int, x.rank()), make([]int, x.rank()), slices.Clone(x.shape)
		for i := range step {
			step[i] = 1
		}
		start[axis], one[axis] = b.positions(ids, x.shape[axis])[0], 1
		return b.reshaped(b.sliced(x, start, step, one), shape)
	}
	g := b.g
	k := ids.size()
	head, size, tail := count(x.shape[:axis]), x.shape[axis], count(x.shape[axis+1:])
	y := g.Reshape(b.real(x), head, size, tail)
	if computed(ids) {
		hot := g.Reshape(b.hot(ids, size), 1, k, size)
		return made(x.dt, g.Reshape(g.MatMul(g.Broadcast(hot, head, k, size), y, false, false), shape...))
	}
	id := b.rows(ids, size)
	if head == 1 {
		y = g.Gather(g.Reshape(y, size, tail), id)
	} else {
		y = g.Reshape(g.Transpose(y, 1, 0, 2), size, head*tail)
		y = g.Reshape(g.Gather(y, g.Reshape(id, k)), k, head, tail)
		y = g.Transpose(y, 1, 0, 2)
	}
	return made(x.dt, g.Reshape(y, shape...))
}

func gatherElements(b *builder, n *node, in []*value) *value {
	x, ids := in[0], in[1]
	axis := b.axis(n.int("axis", 0), x.rank())
	if ids.rank() != x.rank() {
		b.fail("indices of shape %v for %v", ids.shape, x.shape)
	}
	if ids.c == nil {
		// Along the axis, where the other axes are as large as those of the operand.
		g, head, size, tail := b.g, count(x.shape[:axis]), x.shape[axis], count(x.shape[axis+1:])
		many := ids.shape[axis]
		if ids.size() != head*many*tail {
			b.fail("indices that depend on the input")
		}
		y := g.Reshape(b.real(x), head, size, tail)
		if computed(ids) {
			hot := g.Reshape(b.hot(ids, size), head, many, tail, size)
			y = g.Sum(g.Mul(hot, g.Reshape(g.Transpose(y, 0, 2, 1), head, 1, tail, size)), -1)
		} else {
			b.name(ids.n, size)
			y = g.Take(y, g.Reshape(b.plain(ids), head, many, tail))
		}
		return made(x.dt, g.Reshape(y, ids.shape...))
	}
	at := b.positions(ids, x.shape[axis])
	i := -1
	y := b.arange(x.shape).build(b, ids.shape, func(to, from []int) bool {
		i++
		copy(from, to)
		from[axis] = at[i]
		return true
	})
	return b.pick([]*value{x}, y)
}

// places are the flat positions that index tuples name: of x, after batch axes.
func (b *builder) places(x, ids *value, batch int) (at []int, depth int) {
	depth = ids.dim(-1)
	if batch < 0 || batch+depth > x.rank() || batch >= ids.rank() || depth < 1 || !slices.Equal(x.shape[:batch], ids.shape[:batch]) {
		b.fail("indices of shape %v for %v", ids.shape, x.shape)
	}
	list := b.list(ids, "the indices")
	per := len(list) / depth
	if k := count(ids.shape[:batch]); k > 0 {
		per /= k
	}
	for i := 0; i < len(list)/depth; i++ {
		p := 0
		if batch > 0 {
			p = i / per
		}
		for a := range depth {
			j, s := list[i*depth+a], x.shape[batch+a]
			if j < 0 {
				j += s
			}
			if j < 0 || j >= s {
				b.fail("index %d on an axis of %d", list[i*depth+a], s)
			}
			p = p*s + j
		}
		at = append(at, p)
	}
	return at, depth
}

func gatherND(b *builder, n *node, in []*value) *value {
	x, ids := in[0], in[1]
	batch := n.int("batch_dims", 0)
	if ids.rank() < 1 {
		b.fail("indices of shape %v", ids.shape)
	}
	if ids.c == nil && batch == 0 && ids.dim(-1) == 1 { // rows
		flat := &value{dt: ids.dt, shape: ids.shape[:ids.rank()-1], n: b.g.Reshape(b.plain(ids), ids.shape[:ids.rank()-1]...)}
		return b.gatherAxis(x, flat, 0)
	}
	if ids.c == nil && batch == 0 && ids.dim(-1) >= 1 && ids.dim(-1) <= x.rank() {
		return b.computedPlaces(x, ids)
	}
	at, depth := b.places(x, ids, batch)
	tail := x.shape[batch+depth:]
	w := count(tail)
	y := index{shape: slices.Concat(ids.shape[:ids.rank()-1], tail)}
	b.bound(y.shape)
	for _, p := range at {
		for j := range w {
			y.at = append(y.at, p*w+j)
		}
	}
	return b.pick([]*value{x}, y)
}

// computedPlaces is GatherND with index tuples that are computed from the input: their flat positions are rows.
func (b *builder) computedPlaces(x, ids *value) *value {
	g, depth, lead := b.g, ids.dim(-1), ids.shape[:ids.rank()-1]
	y := g.Reshape(b.real(ids), count(lead), depth)
	var at *graph.Node
	for a := range depth {
		i, size := g.Slice(y, []int{0, a}, nil, []int{count(lead), 1}), float64(x.shape[a])
		i = g.Where(g.Less(i, g.Scalar(0)), g.AddC(i, size), i)
		if a > 0 {
			i = g.Add(g.Scale(at, size), i)
		}
		at = i
	}
	flat := b.reshaped(x, append([]int{count(x.shape[:depth])}, x.shape[depth:]...))
	return b.gatherAxis(flat, made(ids.dt, g.Reshape(at, lead...)), 0)
}

func scatterElements(b *builder, n *node, in []*value) *value {
	x, ids, u := in[0], in[1], in[2]
	axis := b.axis(n.int("axis", 0), x.rank())
	if ids.rank() != x.rank() || !slices.Equal(ids.shape, u.shape) {
		b.fail("indices of shape %v and updates of shape %v for %v", ids.shape, u.shape, x.shape)
	}
	at := b.positions(ids, x.shape[axis])
	i := -1
	y := b.arange(x.shape).build(b, ids.shape, func(to, from []int) bool {
		i++
		copy(from, to)
		from[axis] = at[i]
		return true
	})
	return b.scatter(x, u, y.at, n.str("reduction", "none"))
}

func scatterND(b *builder, n *node, in []*value) *value {
	x, ids, u := in[0], in[1], in[2]
	if ids.rank() < 1 {
		b.fail("indices of shape %v", ids.shape)
	}
	at, depth := b.places(x, ids, 0)
	w := count(x.shape[depth:])
	var to []int
	for _, p := range at {
		for j := range w {
			to = append(to, p*w+j)
		}
	}
	if u.size() != len(to) {
		b.fail("updates of shape %v for indices of shape %v", u.shape, ids.shape)
	}
	return b.scatter(x, u, to, n.str("reduction", "none"))
}

// scatter writes u's elements to positions of x, or combines them with what is there.
func (b *builder) scatter(x, u *value, to []int, reduction string) *value {
	if reduction == "none" {
		y := b.arange(x.shape)
		for i, p := range to {
			y.at[p] = x.size() + i
		}
		return b.pick([]*value{x, u}, y)
	}
	// Positions that are named several times take their updates in turn.
	times := make([]int, x.size())
	var turns [][]int // update for each position, or -1
	for i, p := range to {
		if times[p] == len(turns) {
			if len(turns) == 64 {
				b.fail("more than 64 updates of one place")
			}
			turns = append(turns, slices.Repeat([]int{-1}, x.size()))
		}
		turns[times[p]][p] = i
		times[p]++
	}
	for _, turn := range turns {
		got := b.pick([]*value{u}, index{x.shape, turn})
		has := b.knownOf(dtBool, x.shape, func(i int) float64 { return float64(truth(turn[i] >= 0)) })
		var with *value
		switch reduction {
		case "add":
			with = b.binary(x, got, x.dt, func(x, y float64) float64 { return x + y }, nil, b.g.Add)
		case "mul":
			with = b.binary(x, got, x.dt, func(x, y float64) float64 { return x * y }, nil, b.g.Mul)
		case "max":
			with = b.extreme(x, got, true)
		case "min":
			with = b.extreme(x, got, false)
		default:
			b.fail("the reduction %q", reduction)
		}
		x = where(b, nil, []*value{has, with, x})
	}
	return x
}

// pad puts values before and after each axis; negative amounts take away.
func pad(b *builder, n *node, in []*value) *value {
	x := in[0]
	var pads []int
	fill := n.float("value", 0)
	if n.opset < 11 {
		pads = n.ints("pads")
	} else {
		pads = b.list(in[1], "the padding")
		if v := opt(in, 2); v != nil && v.size() > 0 {
			fill = b.number(v, "the value")
		}
	}
	axes := make([]int, x.rank())
	for i := range axes {
		axes[i] = i
	}
	if v := opt(in, 3); v != nil {
		axes = b.axes(b.list(v, "the axes"), x.rank())
	}
	if len(pads) != 2*len(axes) {
		b.fail("%d amounts for %d axes", len(pads), len(axes))
	}
	low, high := make([]int, x.rank()), make([]int, x.rank())
	for i, a := range axes {
		low[a], high[a] = pads[i], pads[i+len(axes)]
	}
	return b.padded(x, low, high, n.str("mode", "constant"), fill)
}

func (b *builder) padded(x *value, low, high []int, mode string, fill float64) *value {
	start, step, shape := make([]int, x.rank()), make([]int, x.rank()), slices.Clone(x.shape)
	for i := range shape {
		step[i] = 1
		if low[i] < -shape[i] || high[i] < -shape[i] || low[i] > maxSize || high[i] > maxSize {
			b.fail("amounts %v and %v for %v", low, high, x.shape)
		}
		if low[i] < 0 {
			start[i] = -low[i]
			shape[i] += low[i]
			low[i] = 0
		}
		if high[i] < 0 {
			shape[i] += high[i]
			high[i] = 0
		}
		if shape[i] < 1 {
			b.fail("amounts leave nothing of %v", x.shape)
		}
	}
	x = b.sliced(x, start, step, shape)
	out := slices.Clone(x.shape)
	any := false
	for i := range out {
		out[i] += low[i] + high[i]
		any = any || low[i] > 0 || high[i] > 0
	}
	b.checkShape(out)
	if !any {
		return x
	}
	if mode != "constant" {
		for a := range out {
			if low[a] > 0 || high[a] > 0 {
				x = b.extend(x, a, low[a], high[a], mode)
			}
		}
		return x
	}
	if x.c != nil {
		b.bound(out)
		y := arange(x.shape).build(b, out, func(to, at []int) bool {
			for a := range at {
				at[a] = to[a] - low[a]
				if at[a] < 0 || at[a] >= x.shape[a] {
					return false
				}
			}
			return true
		})
		v := x.c.like(out, y.at)
		for i, p := range y.at {
			if p < 0 && v.f != nil {
				v.f[i] = fill
			} else if p < 0 {
				v.i[i] = int64(fill)
			}
		}
		return known(v)
	}
	g := b.g
	zero := func(y *graph.Node, low, high []int) *graph.Node {
		p := g.Pad(y, low, high, nil)
		if fill == 0 {
			return p
		}
		ones := make([]int, y.Rank())
		for i := range ones {
			ones[i] = 1
		}
		inside := g.Pad(g.Broadcast(g.Reshape(g.Scalar(1), ones...), y.Shape()...), low, high, nil)
		return g.Where(inside, p, g.Scalar(fill))
	}
	if x.form == image {
		first := func(s []int) []int { return append(append([]int{s[0]}, s[2:]...), s[1]) }
		y := zero(b.spread(x), first(low), first(high))
		return imaged(x.dt, g.Reshape(y, out[0], count(out[2:]), out[1]), out[2:])
	}
	return made(x.dt, zero(b.real(x), low, high))
}

// extend repeats values of an axis beyond its ends.
func (b *builder) extend(x *value, axis, low, high int, mode string) *value {
	s := x.shape[axis]
	b.bound([]int{low + s + high})
	at := make([]int, low+s+high)
	for i := range at {
		p := i - low
		switch mode {
		case "edge":
			p = min(max(p, 0), s-1)
		case "wrap":
			p = ((p % s) + s) % s
		case "reflect":
			if s == 1 {
				p = 0
				break
			}
			period := 2 * (s - 1)
			p = ((p % period) + period) % period
			p = min(p, period-p)
		default:
			b.fail("the mode %q", mode)
		}
		at[i] = p
	}
	if x.c != nil {
		shape := slices.Clone(x.shape)
		shape[axis] = len(at)
		b.bound(shape)
		return b.pick([]*value{x}, arange(x.shape).build(b, shape, func(to, from []int) bool {
			copy(from, to)
			from[axis] = at[to[axis]]
			return true
		}))
	}
	return b.alongAxis(x, axis, fmt.Sprintf("pad %s %d %d %d", mode, s, low, high), len(at), func(r int) ([]int32, []float64) {
		return []int32{int32(at[r])}, []float64{1}
	})
}

// alongAxis multiplies an axis by a constant matrix, given by its rows; name is the matrix's identity.
func (b *builder) alongAxis(x *value, axis int, name string, rows int, row func(r int) ([]int32, []float64)) *value {
	g, s := b.g, x.shape[axis]
	if rows < 1 {
		b.fail("an axis of %d", rows)
	}
	b.bound([]int{rows})
	m := graph.NewSparse(name, rows, s, row)
	shape := slices.Clone(x.shape)
	shape[axis] = rows
	b.checkShape(shape)
	apply := func(y *graph.Node, axis int) *graph.Node {
		d := y.Shape()
		to := slices.Clone(d)
		to[axis] = rows
		return g.Reshape(g.Rows(g.Reshape(y, count(d[:axis]), d[axis], count(d[axis+1:])), m), to...)
	}
	if x.c == nil && x.form == image && axis != 1 {
		y := apply(b.spread(x), max(axis-1, 0))
		return imaged(x.dt, g.Reshape(y, shape[0], count(shape[2:]), shape[1]), shape[2:])
	}
	return made(x.dt, apply(b.real(x), axis))
}

func depthToSpace(b *builder, n *node, in []*value) *value {
	x, s := in[0], n.int("blocksize", 0)
	if x.rank() != 4 || s < 1 || s > x.shape[1] || x.shape[1]%(s*s) != 0 {
		b.fail("blocks of %d in %v", s, x.shape)
	}
	c, h, w := x.shape[1]/(s*s), x.shape[2], x.shape[3]
	split, perm := []int{x.shape[0], s, s, c, h, w}, []int{0, 3, 4, 1, 5, 2}
	if n.str("mode", "DCR") == "CRD" {
		split, perm = []int{x.shape[0], c, s, s, h, w}, []int{0, 1, 4, 2, 5, 3}
	}
	y := b.move(b.reshaped(x, split), func(i index) index { return i.transpose(b, perm) }, func(y *graph.Node) *graph.Node { return b.g.Transpose(y, perm...) })
	return b.reshaped(y, []int{x.shape[0], c, h * s, w * s})
}

func spaceToDepth(b *builder, n *node, in []*value) *value {
	x, s := in[0], n.int("blocksize", 0)
	if x.rank() != 4 || s < 1 || x.shape[2]%s != 0 || x.shape[3]%s != 0 {
		b.fail("blocks of %d in %v", s, x.shape)
	}
	c, h, w := x.shape[1], x.shape[2]/s, x.shape[3]/s
	perm := []int{0, 3, 5, 1, 2, 4}
	if n.str("mode", "DCR") == "CRD" {
		perm = []int{0, 1, 3, 5, 2, 4}
	}
	y := b.move(b.reshaped(x, []int{x.shape[0], c, h, s, w, s}), func(i index) index { return i.transpose(b, perm) }, func(y *graph.Node) *graph.Node { return b.g.Transpose(y, perm...) })
	return b.reshaped(y, []int{x.shape[0], c * s * s, h, w})
}

func compress(b *builder, n *node, in []*value) *value {
	x := in[0]
	axis := 0
	if n.has("axis") {
		axis = b.axis(n.int("axis", 0), x.rank())
	} else {
		x = b.reshaped(x, []int{x.size()})
	}
	var keep []int64
	for i, v := range b.list(in[1], "the condition") {
		if v != 0 && i < x.shape[axis] {
			keep = append(keep, int64(i))
		}
	}
	return b.gatherAxis(x, known(ints(keep...)), axis)
}

func reverseSequence(b *builder, n *node, in []*value) *value {
	x := in[0]
	lens := b.list(in[1], "the lengths")
	ba, ta := b.axis(n.int("batch_axis", 1), x.rank()), b.axis(n.int("time_axis", 0), x.rank())
	if len(lens) != x.shape[ba] {
		b.fail("%d lengths for an axis of %d", len(lens), x.shape[ba])
	}
	return b.pick([]*value{x}, b.arange(x.shape).build(b, x.shape, func(to, at []int) bool {
		copy(at, to)
		if l := lens[to[ba]]; to[ta] < l {
			at[ta] = l - 1 - to[ta]
		}
		return true
	}))
}

func cumSum(b *builder, n *node, in []*value) *value {
	x := in[0]
	axis := b.axis(int(b.number(in[1], "the axis")), x.rank())
	exclusive, reverse := n.int("exclusive", 0) != 0, n.int("reverse", 0) != 0
	s := x.shape[axis]
	if s > 1<<13 {
		b.fail("an axis of %d", s)
	}
	b.spend(s * s)
	reads := func(r, c int) bool {
		if reverse {
			r, c = c, r
		}
		return c < r || c == r && !exclusive
	}
	if x.c != nil {
		tail := count(x.shape[axis+1:])
		out := newArray(x.dt, x.shape...)
		for i := range out.size() {
			r, base := i/tail%s, i-i/tail%s*tail
			for c := range s {
				switch {
				case !reads(r, c):
				case out.f != nil:
					out.f[i] += x.c.f[base+c*tail]
				default:
					out.i[i] += x.c.i[base+c*tail]
				}
			}
		}
		return known(out)
	}
	return b.alongAxis(x, axis, fmt.Sprintf("cumsum %d %t %t", s, exclusive, reverse), s, func(r int) (col []int32, val []float64) {
		for c := range s {
			if reads(r, c) {
				col, val = append(col, int32(c)), append(val, 1)
			}
		}
		return col, val
	})
}

func centerCropPad(b *builder, n *node, in []*value) *value {
	x := in[0]
	to := b.list(in[1], "the shape")
	axes := n.ints("axes")
	if axes == nil {
		for i := range x.rank() {
			axes = append(axes, i)
		}
	}
	axes = b.axes(axes, x.rank())
	if len(to) != len(axes) {
		b.fail("the shape %v for axes %v", to, axes)
	}
	low, high := make([]int, x.rank()), make([]int, x.rank())
	for i, a := range axes {
		d := to[i] - x.shape[a]
		if d >= 0 {
			low[a] = d / 2
		} else {
			low[a] = -(-d / 2)
		}
		high[a] = d - low[a]
	}
	return b.padded(x, low, high, "constant", 0)
}
