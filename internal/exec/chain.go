package exec

import (
	"slices"

	"hessdens/internal/graph"
	"hessdens/internal/kernel"
)

const (
	blockLen = 512   // elements of a chain's block, about: a few arrays of them stay in the nearest cache
	partLen  = 32768 // elements of a chain's part

	maxChannels = 2 * blockLen // of positions of which a block has whole ones
	maxRows     = 3 * blockLen // elements of rows that an operand is repeated for, which a block has as many of as it can
)

// walk says how an operand lies as a chain goes along it.
type walk uint8

const (
	walkDirect   walk = iota // like the chain
	walkSpread               // like the chain, but for rows that lie apart, of whole blocks
	walkOnce                 // the same for every block
	walkRows                 // rows of inner elements, each times over: [outer, times, inner] with steps [inner, 0, 1]
	walkElements             // elements, each times over: [outer, times] with steps [1, 0]
	walkKernel               // walkRows, which the kernels do where they read it
	walkAny
)

// piece is what is done with a block's slots: a script, or an operation that kernels do not have.
type piece[T kernel.Float] struct {
	script *kernel.Script[T]
	micro[T]
}

// micro is a pointwise operation on slots.
type micro[T kernel.Float] struct {
	op           graph.Op
	dst, a, b, c int
	attr         float64
}

// operand is an array that a chain reads, seen along the chain's axes.
type operand struct {
	slot    int
	ref     ref
	per     int // elements of the chain that one stands for
	walk    walk
	scratch int
	off     int // of the first element
	size    []int
	stride  []int
	inner   int // of walkRows and walkSpread
	times   int
}

// kind says how the operand lies, whether or not it is the same for every block.
func (o *operand) kind() walk {
	r := len(o.size) - 1
	switch {
	case r == 0 && o.stride[0] == 1 && o.off == 0:
		return walkDirect
	case r == 2 && o.stride[2] == 1 && o.stride[1] == 0 && o.stride[0] == o.size[2]:
		o.inner, o.times = o.size[2], o.size[1]
		return walkRows
	case r == 1 && o.stride[1] == 1 && o.stride[0] > o.size[1] && o.off == 0:
		o.inner = o.size[1]
		return walkSpread
	case r == 1 && o.stride[1] == 1 && o.stride[0] == 0:
		o.inner, o.times = o.size[1], o.size[0]
		return walkRows
	case r == 1 && o.stride[1] == 0 && o.stride[0] == 1:
		o.times = o.size[1]
		return walkElements
	case r == 0 && o.stride[0] == 0:
		o.times = o.size[0]
		return walkElements
	}
	return walkAny
}

// result is an array that a chain writes, in the order in which it walks.
type result struct {
	slot   int
	ref    ref
	per    int // elements of the chain that one stands for
	spread int // elements between rows
	row    int // elements of a row, where these are spread
}

// temporary is a slot that lies in the worker's memory.
type temporary struct{ slot, scratch, per int }

// sumOut is a sum over positions that a chain makes of one of its slots.
type sumOut struct {
	slot  int
	ref   ref
	width int // elements of a position, all directions
}

// chain computes a group of pointwise operations, and sums over channels that these read, a block at a time. A value may have one
// element a position instead of one a channel; blocks are whole positions then.
type chain[T kernel.Float] struct {
	p       *Program[T]
	total   int // elements of a value with all channels
	block   int
	part    int
	pieces  []piece[T]
	in      []operand
	out     []result
	sums    []sumOut
	temps   []temporary
	slots   int
	scratch int

	inner, times int // of walkKernel
}

func newChain[T kernel.Float](p *Program[T], h *group) *chain[T] {
	v := h.whole()
	channels := lastAxis(v.shape)
	c := &chain[T]{p: p, total: v.size()}
	// The chain walks in the order in which its results lie.
	axes, own := v.axes(), v.strides(v)
	var outer []int
	for a, s := range axes {
		if s > 1 {
			outer = append(outer, a)
		}
	}
	slices.SortFunc(outer, func(a, b int) int { return own[b] - own[a] })
	along := func(s []int) []int {
		out := make([]int, len(outer))
		for i, a := range outer {
			out[i] = s[a]
		}
		return out
	}
	c.block = blockFor(along(axes))
	// Parts are of one size, but small where there would be few.
	c.part = max(min(partLen, c.total/fewParts)/c.block, partLen/8/c.block, 1) * c.block
	if slices.ContainsFunc(h.members, func(m *value) bool { return m.reduce == reducePositions }) {
		c.part = sumPositions(channels) * v.k * channels
	}
	per := func(x *value) int { return channels / lastAxis(x.shape) }
	slot := map[*value]int{}
	for _, x := range h.inputs {
		o := operand{slot: c.slots, ref: x.root.buffer.ref, off: x.layout.off, per: per(x)}
		slot[x] = c.slots
		c.slots++
		axes := slices.Clone(axes)
		if o.per > 1 {
			axes[len(axes)-1] = 1
		}
		size, strides := collapse(along(axes), [][]int{along(v.strides(x))})
		o.size, o.stride = size, strides[0]
		if o.walk = o.kind(); o.walk == walkSpread && o.inner%c.block != 0 {
			o.walk = walkAny
		}
		if period := o.period(); o.walk > walkSpread && c.block/o.per%period == 0 {
			o.walk = walkOnce
		}
		if o.walk == walkRows && c.inKernel(&o, x, h) {
			o.walk = walkKernel
		}
		if o.walk > walkSpread && o.walk != walkKernel {
			o.scratch = c.scratch
			c.scratch++
		}
		c.in = append(c.in, o)
	}
	order := h.order()
	steps := order.steps
	shape := kernel.Shape{Inner: c.inner, Times: c.times}
	for _, o := range c.in {
		shape.Extents = append(shape.Extents, extentOf(o.per, o.walk))
	}
	for _, m := range steps {
		shape.Extents = append(shape.Extents, extentOf(per(m), walkDirect))
	}
	if slices.Contains(shape.Extents, kernel.Positions) {
		shape.Channels = channels // of which blocks have whole positions then
	}
	var scripts [][]kernel.Step[T] // of pieces, nil of those that kernels do not have
	free := map[int][]int{}        // scratch indices, by how many elements one stands for: strips of a block do not go through all in step
	at := map[int]int{}
	readers := map[int][]int{} // pieces that read a slot
	for i, m := range steps {
		in := order.reads(m)
		if m.isView() {
			in = []*value{m.root}
		}
		slot[m] = c.slots
		if slices.Contains(h.outputs, m) {
			c.out = append(c.out, result{c.slots, m.buffer.ref, per(m), m.spread, channels * v.k})
		} else {
			s := c.scratch
			if f := free[per(m)]; len(f) > 0 {
				s, free[per(m)] = f[len(f)-1], f[:len(f)-1]
			} else {
				c.scratch++
			}
			at[c.slots] = s
			c.temps = append(c.temps, temporary{c.slots, s, per(m)})
		}
		c.slots++
		var of [3]int
		for j := range of {
			of[j] = slot[in[min(j, len(in)-1)]]
		}
		attr, _ := m.attr.(float64)
		op, vector := vectorOps[m.op]
		switch {
		case m.isView():
			op, vector = kernel.VectorSpread, true
		case len(in) > len(m.in):
			op, vector = kernel.VectorMulAdd, true
		}
		if vector {
			p := len(scripts) - 1
			if p < 0 || scripts[p] == nil {
				c.pieces, scripts = append(c.pieces, piece[T]{}), append(scripts, nil)
				p++
			}
			scripts[p] = append(scripts[p], kernel.Step[T]{Op: op, Dst: slot[m], A: of[0], B: of[1], C: of[2], K: T(attr)})
		} else {
			c.pieces = append(c.pieces, piece[T]{micro: micro[T]{m.op, slot[m], of[0], of[1], of[2], attr}})
			scripts = append(scripts, nil)
		}
		for _, x := range in {
			readers[slot[x]] = append(readers[slot[x]], len(scripts)-1)
		}
		for j, x := range in {
			if s, temp := at[slot[x]]; temp && order.last[x] == i && !slices.Contains(in[:j], x) {
				free[per(x)] = append(free[per(x)], s)
			}
		}
	}
	for _, m := range order.sums {
		c.sums = append(c.sums, sumOut{slot[m.in[0]], m.buffer.ref, channels * v.k})
		readers[slot[m.in[0]]] = append(readers[slot[m.in[0]]], len(scripts))
	}
	for p, steps := range scripts {
		if steps == nil {
			continue
		}
		for i := range steps {
			_, temp := at[steps[i].Dst]
			steps[i].Local = temp && !slices.ContainsFunc(readers[steps[i].Dst], func(by int) bool { return by != p })
		}
		c.pieces[p].script = kernel.NewScript(steps, shape, c.block)
	}
	return c
}

// extentOf is that of a slot.
func extentOf(per int, w walk) kernel.Extent {
	switch {
	case w == walkKernel:
		return kernel.Rows
	case per > 1:
		return kernel.Positions
	}
	return kernel.Whole
}

// inKernel says whether the kernels can repeat an operand where they read it: its rows are whole lines of a cache, which the block has whole
// repetitions of or part of one, the same for all such operands, and kernels do all that reads it.
func (c *chain[T]) inKernel(o *operand, x *value, h *group) bool {
	times, all := o.times, o.inner*o.times
	switch whole := c.block%all == 0; {
	case c.part%c.block != 0 && c.part%all != 0 || !whole && (c.block%o.inner != 0 || all%c.block != 0):
		return false
	case !whole:
		times = c.block / o.inner
	}
	if o.per > 1 || o.inner*sizeof[T]()%64 != 0 || times < 2 || c.inner > 0 && (c.inner != o.inner || c.times != times) {
		return false
	}
	for _, m := range h.members {
		if _, vector := vectorOps[m.op]; slices.Contains(m.in, x) && (!vector || m.reduce != reduceNone) {
			return false
		}
	}
	c.inner, c.times = o.inner, times
	return true
}

// order is that in which a chain does its steps on a block.
type order struct {
	steps  []*value          // members, each after what is repeated for it
	sums   []*value          // over positions, which come last
	last   map[*value]int    // the last step that reads a value, as many as there are for sums
	inside map[*value]*value // products that an addition computes in passing
}

func (h *group) order() *order {
	o := &order{last: map[*value]int{}, inside: productsInside(h)}
	for _, m := range h.members {
		switch {
		case o.inside[m] != nil:
			continue
		case m.reduce == reducePositions:
			o.sums = append(o.sums, m)
			continue
		}
		for _, x := range o.reads(m) {
			if x.root.group == h && x.isView() && !slices.Contains(o.steps, x) {
				o.steps = append(o.steps, x)
			}
		}
		o.steps = append(o.steps, m)
	}
	for i, m := range o.steps {
		if m.isView() {
			o.last[m.root] = i
			continue
		}
		for _, x := range o.reads(m) {
			o.last[x] = i
		}
	}
	for _, m := range o.sums {
		o.last[m.in[0]] = len(o.steps)
	}
	return o
}

// reads are the values that a step reads: of an addition with a product inside its factors, and the other term.
func (o *order) reads(m *value) []*value {
	for i, x := range m.in {
		if o.inside[x] == m {
			return []*value{x.in[0], x.in[1], m.in[1-i]}
		}
	}
	return m.in
}

// over says whether an output of a chain may be written over x, which the chain reads: element by element where that lies, after all that
// reads it.
func (h *group) over(o *order, m, x *value) bool {
	at := slices.Index(o.steps, m)
	for _, y := range h.inputs {
		if y.root == x.root && (!m.lies(y) || o.last[y] > at) {
			return false
		}
	}
	return at >= 0 && m.room() == x.root.room()
}

// productsInside are the products of a chain that only one addition reads, which computes them in passing; an addition has
// one such at most.
func productsInside(h *group) map[*value]*value {
	readers := map[*value]int{}
	for _, m := range h.members {
		for _, x := range m.in {
			readers[x]++
		}
	}
	inside := map[*value]*value{}
	for _, m := range h.members {
		if m.op != graph.OpAdd {
			continue
		}
		for _, x := range m.in {
			if x.group == h && !x.isView() && x.op == graph.OpMul && readers[x] == 1 && !slices.Contains(h.outputs, x) {
				inside[x] = m
				break
			}
		}
	}
	return inside
}

// period is the number of elements after which an operand repeats: those of its innermost axes
// where all axes outside are repetitions.
func (o *operand) period() int {
	n, a := 1, 0
	for a < len(o.size) && o.stride[a] == 0 {
		a++
	}
	for ; a < len(o.size); a++ {
		n *= o.size[a]
	}
	return n
}

func (c *chain[T]) parts() int { return (c.total + c.part - 1) / c.part }

func (c *chain[T]) run(wi, part int) {
	w := c.p.workers[wi]
	lo := part * c.part
	hi := min(lo+c.part, c.total)
	scratch := func(i, n int) []T { return w.block[i*c.block : i*c.block+n] }
	for i := range c.in {
		if o := &c.in[i]; o.walk == walkOnce {
			gather(o, scratch(o.scratch, min(c.block, hi-lo)/o.per), c.p.at(o.ref), lo/o.per)
		}
	}
	for ; lo < hi; lo += c.block {
		n := min(c.block, hi-lo)
		for i := range c.in {
			o, next := &c.in[i], lo+n
			src := c.p.at(o.ref)
			w.slots[o.slot] = block(o, w.block[o.scratch*c.block:], src, lo/o.per, n/o.per)
			if o.walk <= walkSpread && next < c.total { // the others are a fraction of these
				kernel.Fetch(block(o, nil, src, next/o.per, min(n, c.total-next)/o.per))
			}
		}
		for _, o := range c.out {
			at := lo / o.per
			if o.spread > 0 {
				at += lo / o.row * o.spread
			}
			w.slots[o.slot] = c.p.at(o.ref)[at : at+n/o.per]
		}
		for _, t := range c.temps {
			w.slots[t.slot] = scratch(t.scratch, n/t.per)
		}
		for i := range c.pieces {
			if p := &c.pieces[i]; p.script != nil {
				p.script.Run(w.slots, n)
			} else {
				p.apply(w.slots)
			}
		}
		for i := range c.sums {
			c.sum(&c.sums[i], w.slots[c.sums[i].slot], part, lo)
		}
	}
}

// block is n elements of an operand from lo on, where they lie or in scratch.
func block[T kernel.Float](o *operand, scratch, src []T, lo, n int) []T {
	switch o.walk {
	case walkDirect:
		return src[lo : lo+n]
	case walkSpread:
		at := lo/o.inner*o.stride[0] + lo%o.inner
		return src[at : at+n]
	case walkRows:
		if at := lo % o.inner; at+n <= o.inner { // a piece of one row
			from := o.off + lo/o.inner/o.times*o.inner + at
			return src[from : from+n]
		}
	case walkKernel:
		from := o.off + lo/o.inner/o.times*o.inner
		return src[from : from+max(n/o.times, o.inner)]
	}
	s := scratch[:n]
	switch {
	case o.walk == walkOnce:
	case o.walk == walkRows && lo%o.inner == 0 && n%o.inner == 0:
		repeated(s, src[o.off:], lo, o.inner, o.times)
	case o.walk == walkElements:
		repeated(s, src[o.off:], lo, 1, o.times)
	default:
		gather(o, s, src, lo)
	}
	return s
}

// sum adds the block x, which begins at lo, to a sum over positions.
func (c *chain[T]) sum(o *sumOut, x []T, part, lo int) {
	y := c.p.at(o.ref)[part*o.width : (part+1)*o.width]
	if lo == part*c.part {
		clear(y)
	}
	for at := lo; len(x) > 0; {
		column := at % o.width
		n := min(len(x), o.width-column) // of a row
		rows := 1
		if column == 0 && n == o.width {
			rows = len(x) / n
		}
		kernel.AddRows(y[column:column+n], x, rows, n)
		n *= rows
		x = x[n:]
		at += n
	}
}

// blockFor is how many elements a block has: those of whole positions, or of whole rows, where these are small enough, so that
// an operand that is repeated for directions or rows is so in whole pieces.
func blockFor(axes []int) int {
	unit := 1
	for i := len(axes) - 1; i >= 0; i-- {
		n := axes[i]
		if unit*n <= maxChannels {
			unit *= n
			continue
		}
		for d := min(n, maxRows/unit); d > 1 && unit*d >= blockLen; d-- { // a part of the axis
			if n%d == 0 {
				return unit * d
			}
		}
		break
	}
	return max(1, blockLen/unit) * unit
}

// repeated reads elements from the start-th on where rows of n elements are repeated times over; start and the length of dst are
// multiples of n.
func repeated[T kernel.Float](dst, src []T, start, n, times int) {
	row, time := start/n/times, start/n%times
	for len(dst) > 0 {
		if rows := len(dst) / (n * times); time == 0 && rows > 0 {
			kernel.Repeat(dst[:rows*n*times], src[row*n:], n, times)
			dst = dst[rows*n*times:]
			row += rows
			continue
		}
		some := min(times-time, len(dst)/n)
		kernel.Repeat(dst[:some*n], src[row*n:], n, some)
		dst = dst[some*n:]
		row, time = row+1, 0
	}
}

// gather reads the elements of an operand from the start-th on, in the order of its axes.
func gather[T kernel.Float](o *operand, dst, src []T, start int) {
	r := len(o.size) - 1
	if r == 0 {
		strided(dst, src, o.off+start*o.stride[0], o.stride[0])
		return
	}
	var at [16]int
	rest := start
	off := o.off
	for a := r; a >= 0; a-- {
		at[a] = rest % o.size[a]
		rest /= o.size[a]
		off += at[a] * o.stride[a]
	}
	inner, step := o.size[r], o.stride[r]
	for {
		n := min(inner-at[r], len(dst))
		strided(dst[:n], src, off, step)
		if dst = dst[n:]; len(dst) == 0 {
			return
		}
		off += (inner - at[r]) * step
		at[r] = inner
		for a := r; at[a] == o.size[a]; a-- {
			off += o.stride[a-1] - at[a]*o.stride[a]
			at[a] = 0
			at[a-1]++
		}
	}
}

// strided copies elements from src[at] on that lie step apart.
func strided[T kernel.Float](dst, src []T, at, step int) {
	switch step {
	case 1:
		short(dst, src[at:])
	case 0:
		kernel.Vector(kernel.VectorFill, dst, nil, nil, nil, src[at])
	default:
		for i := range dst {
			dst[i] = src[at+i*step]
		}
	}
}

// short copies a few elements, as many as dst has: the channels of a position are often fewer than a call of copy is worth.
func short[T kernel.Float](dst, src []T) {
	if len(dst) <= 64 {
		for len(dst) >= 16 {
			*(*[16]T)(dst) = *(*[16]T)(src)
			dst, src = dst[16:], src[16:]
		}
		if len(dst) < 8 {
			for i := range dst {
				dst[i] = src[i]
			}
			return
		}
	}
	copy(dst, src)
}

// vectorOps are the pointwise operations that the kernels have.
var vectorOps = map[graph.Op]kernel.VectorOp{
	graph.OpAdd: kernel.VectorAdd, graph.OpSub: kernel.VectorSub, graph.OpMul: kernel.VectorMul, graph.OpDiv: kernel.VectorDiv,
	graph.OpScale: kernel.VectorScale, graph.OpAddC: kernel.VectorAddC, graph.OpRelu: kernel.VectorRelu, graph.OpStep: kernel.VectorStep,
	graph.OpRecip: kernel.VectorRecip, graph.OpSqrt: kernel.VectorSqrt, graph.OpRsqrt: kernel.VectorRsqrt, graph.OpWhere: kernel.VectorWhere,
	graph.OpSum: kernel.VectorSum, graph.OpExp: kernel.VectorExp, graph.OpTanh: kernel.VectorTanh, graph.OpSigmoid: kernel.VectorSigmoid, graph.OpErf: kernel.VectorErf,
}

// apply runs the operation over a block.
func (m *micro[T]) apply(slots [][]T) {
	dst := slots[m.dst]
	n := len(dst)
	a, b, c := slots[m.a][:n], slots[m.b][:n], slots[m.c][:n]
	if m.op == graph.OpDetach {
		copy(dst, a)
		return
	}
	for i, x := range a {
		dst[i] = T(m.op.Eval(float64(x), float64(b[i]), float64(c[i]), m.attr))
	}
}
