package onnx

import (
	"math"
	"slices"

	"hessdens/internal/graph"
	"hessdens/internal/tensor"
)

func shapeOperators() map[string]operator {
	return map[string]operator{
		"Shape": one(1, shapeOf),
		"Size": one(1, func(_ *builder, _ *node, in []*value) *value {
			return known(&array{dt: dtInt64, i: []int64{int64(in[0].size())}})
		}),
		"Reshape":         one(1, reshape),
		"Flatten":         one(1, flatten),
		"Squeeze":         one(1, squeeze),
		"Unsqueeze":       one(1, unsqueeze),
		"Transpose":       one(1, transpose),
		"Expand":          one(2, expand),
		"Tile":            one(2, tile),
		"Concat":          one(1, concat),
		"Split":           {least: 1, build: split},
		"Slice":           one(1, slice),
		"Range":           one(3, arangeOf),
		"ConstantOfShape": one(1, constantOfShape),
		"Constant":        {build: func(b *builder, _ *node, _ []*value) []*value { b.fail("a constant of text"); return nil }},
		"EyeLike":         one(1, eyeLike),
		"NonZero":         one(1, nonZero),
		"OneHot":          one(3, oneHot),
		"Trilu":           one(1, trilu),
	}
}

func shapeOf(_ *builder, n *node, in []*value) *value {
	s := in[0].shape
	r := len(s)
	bound := func(i int) int {
		if i < 0 {
			i += r
		}
		return min(max(i, 0), r)
	}
	start, end := bound(n.int("start", 0)), bound(n.int("end", r))
	out := []int64{}
	for i := start; i < end; i++ {
		out = append(out, int64(s[i]))
	}
	return known(ints(out...))
}

// reshaped is v in another shape. An image keeps its channels last where batch and channels stay, or where it
// is flattened to rows.
func (b *builder) reshaped(v *value, shape []int) *value {
	switch {
	case v.c != nil:
		return known(&array{dt: v.dt, shape: shape, f: v.c.f, i: v.c.i})
	case slices.Equal(v.shape, shape):
		return v
	case v.form == image && len(shape) >= 3 && shape[0] == v.shape[0] && shape[1] == v.shape[1]:
		return &value{dt: v.dt, shape: shape, n: v.n, form: image}
	case v.form == image && len(shape) == 2 && shape[0] == v.shape[0]:
		if v.n.Dim(1) == 1 || v.n.Dim(2) == 1 {
			return made(v.dt, b.g.Reshape(v.n, shape...))
		}
		return &value{dt: v.dt, shape: shape, n: v.n, form: flat}
	case v.form == flat && len(shape) >= 3 && shape[0] == v.shape[0] && shape[1] == v.n.Dim(2):
		return &value{dt: v.dt, shape: shape, n: v.n, form: image}
	}
	return made(v.dt, b.g.Reshape(b.plain(v), shape...))
}

func reshape(b *builder, n *node, in []*value) *value {
	x := in[0]
	var to []int
	if n.opset < 5 || opt(in, 1) == nil {
		to = n.ints("shape")
	} else {
		to = b.list(in[1], "the shape")
	}
	if len(to) > maxRank {
		b.fail("a shape of %d axes", len(to))
	}
	zero := n.int("allowzero", 0) != 0
	shape, free, size := make([]int, len(to)), -1, 1
	for i, s := range to {
		switch {
		case s == 0 && !zero:
			if i >= x.rank() {
				b.fail("the shape %v keeps axis %d of %v", to, i, x.shape)
			}
			s = x.shape[i]
		case s == -1 && free < 0:
			free = i
			s = 1
		case s < 0:
			b.fail("the shape %v", to)
		}
		shape[i] = s
		if s > 0 && size > maxSize/s {
			b.fail("the shape %v is too large", to)
		}
		size *= s
	}
	total := x.size()
	if free >= 0 {
		if size == 0 || total%size != 0 {
			b.fail("%v has not the values of shape %v", x.shape, to)
		}
		shape[free] = total / size
	} else if size != total {
		// A file that was written for one batch names it in its shapes.
		if d := b.declared; d > 0 && b.batch > 0 && len(shape) > 0 && shape[0]%d == 0 && size/d*b.batch == total {
			shape[0] = shape[0] / d * b.batch
		} else {
			b.fail("%v has not the values of shape %v", x.shape, to)
		}
	}
	return b.reshaped(x, shape)
}

func flatten(b *builder, n *node, in []*value) *value {
	x := in[0]
	a := n.int("axis", 1)
	if a < 0 {
		a += x.rank()
	}
	if a < 0 || a > x.rank() {
		b.fail("axis %d of %v", n.int("axis", 1), x.shape)
	}
	return b.reshaped(x, []int{count(x.shape[:a]), count(x.shape[a:])})
}

// axesOf are axes given by an operand, or by an attribute in older opsets.
func (b *builder) axesOf(n *node, in []*value, i int) ([]int, bool) {
	if v := opt(in, i); v != nil {
		return b.list(v, "the axes"), true
	}
	if n.has("axes") {
		return n.ints("axes"), true
	}
	return nil, false
}

func squeeze(b *builder, n *node, in []*value) *value {
	x := in[0]
	given, ok := b.axesOf(n, in, 1)
	axes := b.axes(given, x.rank())
	var shape []int
	for i, s := range x.shape {
		drop := slices.Contains(axes, i)
		if drop && s != 1 {
			b.fail("axis %d of %v is not of size 1", i, x.shape)
		}
		if !ok && s == 1 {
			drop = true
		}
		if !drop {
			shape = append(shape, s)
		}
	}
	return b.reshaped(x, shape)
}

func unsqueeze(b *builder, n *node, in []*value) *value {
	x := in[0]
	given, _ := b.axesOf(n, in, 1)
	rank := x.rank() + len(given)
	axes := b.axes(given, rank)
	shape, at := make([]int, rank), 0
	for i := range shape {
		if slices.Contains(axes, i) {
			shape[i] = 1
			continue
		}
		shape[i] = x.shape[at]
		at++
	}
	return b.reshaped(x, shape)
}

func transpose(b *builder, n *node, in []*value) *value {
	x := in[0]
	perm := n.ints("perm")
	if perm == nil {
		for i := range x.rank() {
			perm = append(perm, x.rank()-1-i)
		}
	}
	if len(perm) != x.rank() {
		b.fail("perm is %v for %v", perm, x.shape)
	}
	b.axes(perm, x.rank())
	return b.move(x, func(i index) index { return i.transpose(b, perm) }, func(y *graph.Node) *graph.Node { return b.g.Transpose(y, perm...) })
}

// expandTo repeats axes of size 1, new ones before the others too.
func (b *builder) expandTo(x *value, shape []int) *value {
	b.checkShape(shape)
	if slices.Equal(shape, x.shape) {
		return x
	}
	if x.c != nil {
		b.bound(shape)
	}
	return b.move(x, func(i index) index { return i.expand(b, shape) }, func(y *graph.Node) *graph.Node {
		return b.g.Broadcast(b.g.Reshape(y, padded(x.shape, len(shape))...), shape...)
	})
}

// padded is a shape with axes of size 1 before it.
func padded(shape []int, rank int) []int {
	for len(shape) < rank {
		shape = append([]int{1}, shape...)
	}
	return shape
}

func expand(b *builder, _ *node, in []*value) *value {
	to := b.list(in[1], "the shape")
	for i, s := range to {
		if s == -1 {
			to[i] = 1
		} else if s < 0 || s > maxSize {
			b.fail("the shape %v", to)
		}
	}
	return b.expandTo(in[0], b.broadcast(in[0].shape, to))
}

func tile(b *builder, _ *node, in []*value) *value {
	x := in[0]
	times := b.list(in[1], "the repeats")
	if len(times) != x.rank() {
		b.fail("%d repeats of %v", len(times), x.shape)
	}
	var split, both, shape []int
	for i, t := range times {
		if t < 1 || t > maxSize {
			b.fail("repeats %v", times)
		}
		split = append(split, 1, x.shape[i])
		both = append(both, t, x.shape[i])
		if x.shape[i] > maxSize/t {
			b.fail("repeats %v", times)
		}
		shape = append(shape, t*x.shape[i])
	}
	b.checkShape(shape)
	y := b.reshaped(x, split)
	return b.reshaped(b.expandTo(y, both), shape)
}

func concat(b *builder, n *node, in []*value) *value {
	var parts []*value
	for _, v := range in {
		if v != nil {
			parts = append(parts, v)
		}
	}
	x := parts[0]
	axis := b.axis(n.int("axis", 1), x.rank())
	shape := slices.Clone(x.shape)
	shape[axis] = 0
	all := true
	for _, v := range parts {
		for i, s := range v.shape {
			if v.rank() != x.rank() || i != axis && s != x.shape[i] {
				b.fail("%v and %v do not fit each other", x.shape, v.shape)
			}
		}
		shape[axis] += v.shape[axis]
		all = all && v.c != nil
	}
	if all {
		head := count(shape[:axis])
		out := &array{dt: x.dt, shape: shape}
		b.bound(shape)
		for i := range head {
			for _, v := range parts {
				if head == 0 || v.size() == 0 {
					continue
				}
				w := v.size() / head
				if v.c.f != nil {
					out.f = append(out.f, v.c.f[i*w:(i+1)*w]...)
				} else {
					out.i = append(out.i, v.c.i[i*w:(i+1)*w]...)
				}
			}
		}
		if isFloat(x.dt) && out.f == nil {
			out.f = []float64{}
		}
		return known(out)
	}
	var some []*value // empty parts add nothing
	for _, v := range parts {
		if v.size() > 0 {
			some = append(some, v)
		}
	}
	nodes := make([]*graph.Node, len(some))
	for _, v := range some {
		if v.form == image && v.c == nil && axis == 1 {
			for i, v := range some {
				nodes[i] = b.image(v)
			}
			return imaged(x.dt, b.g.Concat(2, nodes...), x.shape[2:])
		}
	}
	for i, v := range some {
		nodes[i] = b.real(v)
	}
	return made(x.dt, b.g.Concat(axis, nodes...))
}

// sliced takes count elements of each axis from start on, step apart.
func (b *builder) sliced(x *value, start, step, shape []int) *value {
	if slices.Equal(shape, x.shape) && !slices.ContainsFunc(step, func(s int) bool { return s < 0 }) {
		return x
	}
	for _, s := range shape {
		if s == 0 {
			return known(newArray(x.dt, shape...))
		}
	}
	if x.c == nil && x.form == image && x.n.Kind() == graph.Float {
		first := func(s []int) []int { return append(append([]int{s[0]}, s[2:]...), s[1]) }
		y := b.g.Slice(b.spread(x), first(start), first(step), first(shape))
		return imaged(x.dt, b.g.Reshape(y, shape[0], count(shape[2:]), shape[1]), shape[2:])
	}
	return b.move(x, func(i index) index { return i.slice(b, start, step, shape) }, func(y *graph.Node) *graph.Node {
		return b.g.Slice(y, start, step, shape)
	})
}

func split(b *builder, n *node, in []*value) []*value {
	x := in[0]
	axis := b.axis(n.int("axis", 0), x.rank())
	var sizes []int
	switch {
	case opt(in, 1) != nil:
		sizes = b.list(in[1], "the sizes")
	case n.has("split"):
		sizes = n.ints("split")
	default:
		k := n.int("num_outputs", len(n.out))
		if k < 1 || k > len(n.out) {
			b.fail("%d outputs, %d named", k, len(n.out))
		}
		each := (x.shape[axis] + k - 1) / k
		for i := range k {
			sizes = append(sizes, min(each, x.shape[axis]-i*each))
		}
	}
	out := make([]*value, len(sizes))
	start, step := make([]int, x.rank()), make([]int, x.rank())
	for i := range step {
		step[i] = 1
	}
	for i, s := range sizes {
		if s < 0 || start[axis]+s > x.shape[axis] {
			b.fail("sizes %v of an axis of %d", sizes, x.shape[axis])
		}
		shape := slices.Clone(x.shape)
		shape[axis] = s
		if i < len(n.out) && n.out[i] != "" {
			out[i] = b.sliced(x, slices.Clone(start), step, shape)
		}
		start[axis] += s
	}
	if start[axis] != x.shape[axis] {
		b.fail("sizes %v of an axis of %d", sizes, x.shape[axis])
	}
	return out
}

func slice(b *builder, n *node, in []*value) *value {
	x := in[0]
	var starts, ends, axes, steps []int
	if n.opset < 10 {
		starts, ends, axes = n.ints("starts"), n.ints("ends"), n.ints("axes")
	} else {
		starts, ends = b.list(in[1], "the starts"), b.list(in[2], "the ends")
		if v := opt(in, 3); v != nil {
			axes = b.list(v, "the axes")
		}
		if v := opt(in, 4); v != nil {
			steps = b.list(v, "the steps")
		}
	}
	if axes == nil {
		for i := range starts {
			axes = append(axes, i)
		}
	}
	axes = b.axes(axes, x.rank())
	start, step, shape := make([]int, x.rank()), make([]int, x.rank()), slices.Clone(x.shape)
	for i := range step {
		step[i] = 1
	}
	if len(starts) != len(axes) || len(ends) != len(axes) || steps != nil && len(steps) != len(axes) {
		b.fail("starts %v, ends %v, axes %v, steps %v", starts, ends, axes, steps)
	}
	for i, a := range axes {
		d, s := x.shape[a], 1
		if steps != nil {
			s = steps[i]
		}
		if s == 0 || s == math.MinInt {
			b.fail("a step of %d", s)
		}
		low, high := 0, d
		if s < 0 {
			low, high = -1, d-1
		}
		clamp := func(v int) int {
			if v < 0 {
				if v < -d-1 {
					v = -d - 1
				}
				v += d
			}
			return min(max(v, low), high)
		}
		from, to := clamp(starts[i]), clamp(ends[i])
		if s < 0 && starts[i] < -d {
			from = -1
		}
		k := 0
		if s > 0 && to > from {
			k = (to-from-1)/s + 1
		} else if s < 0 && from > to {
			k = (from-to-1)/-s + 1
		}
		start[a], step[a], shape[a] = from, s, k
		if k <= 1 {
			step[a] = 1
		}
	}
	return b.sliced(x, start, step, shape)
}

func arangeOf(b *builder, _ *node, in []*value) *value {
	start, limit, delta := b.number(in[0], "the start"), b.number(in[1], "the limit"), b.number(in[2], "the step")
	k := math.Max(math.Ceil((limit-start)/delta), 0)
	if !(k <= maxConst) {
		b.fail("from %v to %v by %v", start, limit, delta)
	}
	return b.knownOf(in[0].dt, []int{int(k)}, func(i int) float64 { return start + float64(i)*delta })
}

func constantOfShape(b *builder, n *node, in []*value) *value {
	shape := b.list(in[0], "the shape")
	for _, s := range shape {
		if s < 0 {
			b.fail("the shape %v", shape)
		}
	}
	v := n.arrays["value"]
	if v == nil {
		v = &array{dt: dtFloat, shape: []int{1}, f: []float64{0}}
	}
	if v.size() != 1 {
		b.fail("value has %d elements", v.size())
	}
	c := scalarMeant(v)
	return b.knownOf(v.dt, shape, func(int) float64 { return c.at(0) })
}

func eyeLike(b *builder, n *node, in []*value) *value {
	x := in[0]
	if x.rank() != 2 {
		b.fail("an operand of shape %v, where a matrix is needed", x.shape)
	}
	dt := dtype(n.int("dtype", int(x.dt)))
	if width(dt) == 0 {
		b.fail("elements of type %s", dt)
	}
	k, cols := n.int("k", 0), x.shape[1]
	return b.knownOf(dt, x.shape, func(i int) float64 { return float64(truth(i%cols-i/cols == k)) })
}

func nonZero(b *builder, _ *node, in []*value) *value {
	x := in[0]
	if x.c == nil {
		b.fail("the shape of the result depends on the input's values")
	}
	var at []int
	for i := range x.c.size() {
		if x.c.at(i) != 0 {
			at = append(at, i)
		}
	}
	r := x.rank()
	out := b.array(dtInt64, r, len(at))
	for j, p := range at {
		for a := r - 1; a >= 0; a-- {
			out.i[a*len(at)+j] = int64(p % x.shape[a])
			p /= x.shape[a]
		}
	}
	return known(out)
}

func oneHot(b *builder, n *node, in []*value) *value {
	ids, values := in[0], in[2]
	depth := int(b.number(in[1], "the depth"))
	if depth < 1 || depth > maxConst {
		b.fail("a depth of %d", depth)
	}
	rank := ids.rank() + 1
	axis := b.axis(n.int("axis", -1), rank)
	shape := slices.Insert(slices.Clone(ids.shape), axis, depth)
	if ids.c == nil {
		if values.c == nil {
			b.fail("values that depend on the input")
		}
		hot := b.hot(ids, depth)
		off, on := values.c.at(0), values.c.at(1)
		hot = b.g.AddC(b.g.Scale(hot, on-off), off)
		perm := make([]int, 0, rank)
		for i := range ids.rank() {
			perm = append(perm, i)
		}
		return made(values.dt, b.g.Transpose(hot, slices.Insert(perm, axis, rank-1)...))
	}
	tail := count(ids.shape[axis:])
	b.bound(shape)
	pos := func(i int) int { // 1 where the index names the place
		hot := i / tail % depth
		id := int(ids.c.at(i/(tail*depth)*tail + i%tail))
		if id < 0 {
			id += depth
		}
		return int(truth(id == hot))
	}
	x := index{shape, make([]int, tensor.Count(shape))}
	for i := range x.at {
		x.at[i] = pos(i)
	}
	return b.pick([]*value{values}, x)
}

func trilu(b *builder, n *node, in []*value) *value {
	x := in[0]
	k := 0
	if v := opt(in, 1); v != nil {
		k = int(b.number(v, "k"))
	}
	if x.rank() < 2 {
		b.fail("an operand of shape %v, where a matrix is needed", x.shape)
	}
	rows, cols := x.dim(-2), x.dim(-1)
	keep := func(i int) bool {
		d := i%cols - i/cols%rows
		if n.int("upper", 1) != 0 {
			return d >= k
		}
		return d <= k
	}
	if x.c != nil {
		out := newArray(x.dt, x.shape...)
		for i := range out.size() {
			if keep(i) {
				if out.f != nil {
					out.f[i] = x.c.f[i]
				} else {
					out.i[i] = x.c.i[i]
				}
			}
		}
		return known(out)
	}
	mask := b.knownOf(dtBool, []int{rows, cols}, func(i int) float64 { return float64(truth(keep(i))) })
	return made(x.dt, b.g.Where(b.plain(mask), b.real(x), b.g.Scalar(0)))
}
