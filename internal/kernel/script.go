package kernel

import (
	"slices"
	"unsafe"
)

// Step is an operation of a Script: it makes slot Dst of slots A, B and C, those of them that it reads. K is its constant. Where nothing but the
// script's steps reads Dst (Local), the slot need not be written. No two steps make one slot.
type Step[T Float] struct {
	Op           VectorOp
	Dst, A, B, C int
	K            T
	Local        bool
}

// Extent says how many elements a slot of a Script has.
type Extent uint8

const (
	Whole     Extent = iota // those of the block
	Positions               // one for each Channels of them, which are adjacent
	Rows                    // rows of Inner elements, each read Times times: [n/(Inner·Times), Inner] of [n/(Inner·Times), Times, Inner]
)

// Shape is what the slots of a Script are to each other. Rows are only read, and by operations on whole blocks.
type Shape struct {
	Channels     int      // 0 where no slot has one element a position
	Inner, Times int      // 0 where no slot has rows
	Extents      []Extent // by slot
}

// Script is a sequence of operations on blocks, for which a call of Run makes one call of a kernel if it can. The kernel goes over a block in
// strips of a few vectors and does one step after the other on each: what a step makes is in registers for the next.
type Script[T Float] struct {
	shape  Shape
	most   int // elements of a block
	steps  []Step[T]
	runs   []run
	strips [2]strips // of whole blocks, and of their positions
}

// run is some steps one after the other, with the passes of the kernel that do them; one step that there is no kernel for has none.
type run struct {
	steps  int
	passes []pass
}

// pass is a loop over a block; _asm/script.go repeats the offsets of its fields, and of those of instruction and strip.
type pass struct {
	code  *instruction
	count int
	kind  int
}

// Kinds of passes.
const (
	passWhole     = iota // over whole blocks
	passPositions        // over their positions
	passSums             // over the channels of each: one sum
)

// instruction is a step as the kernel reads it.
type instruction struct {
	form   int     // of forms; as many as there are for others
	op     int     // of kernelOps
	from   [3]int  // where a, b and c come from
	slots  [4]int  // offsets of the headers of dst, a, b and c
	fields [3]int  // which offset of a strip that of a, b and c is
	k      [8]byte // the constant, or how many bytes the channels of a position have
	store  int     // 0 where only the next instruction reads dst
}

// Where an operand comes from.
const (
	fromNone     = iota
	fromVectors  // of its slot
	fromResult   // of the instruction before
	fromVector   // the same for all of a strip
	fromElement  // the same for all
	fromElements // one for each vector
	fromConstant
)

// form is an operation with operands that the kernel has code of its own for; the order is that of _asm/script.go.
type form struct {
	op   VectorOp
	from [3]int
}

var forms = [...]form{
	{VectorMulAdd, [3]int{fromVectors, fromVectors, fromResult}},
	{VectorMulAdd, [3]int{fromVector, fromVectors, fromResult}},
	{VectorMul, [3]int{fromVectors, fromVectors}},
	{VectorMul, [3]int{fromVector, fromVectors}},
	{VectorMul, [3]int{fromResult, fromVectors}},
	{VectorAdd, [3]int{fromVectors, fromVectors}},
	{VectorAdd, [3]int{fromResult, fromVectors}},
	{VectorMul, [3]int{fromResult, fromVector}},
	{VectorMulAdd, [3]int{fromResult, fromVectors, fromVectors}},
	{VectorFill, [3]int{fromElement}},
	{VectorMul, [3]int{fromVectors, fromConstant}},
	{VectorMul, [3]int{fromResult, fromConstant}},
}

// kernelOps are the operations on strips; the rest are made of these.
var kernelOps = [...]VectorOp{VectorMulAdd, VectorMul, VectorAdd, VectorFill, VectorSub, VectorDiv, VectorWhere, VectorRelu, VectorStep,
	VectorSqrt, VectorRsqrt, VectorExp, VectorTanh, VectorSigmoid, VectorErf}

// strip is a few vectors of a block: where the first one is, in bytes from the beginning of whole slots, of rows, and of what has an element a
// position; and how many there are. What is less than a vector has width 0, and as many elements as row says.
type strip struct{ off, row, position, width int }

// strips are those of a block.
type strips struct {
	list []strip
	unit int  // elements that need whole ones: all times of a row, a position, or a strip of the greatest width
	per  int  // strips of a unit
	step int  // bytes from a vector of a strip to the next
	rest bool // there may be part of a unit
}

const badScript = "kernel: a script's slots do not fit each other"

// line is how many bytes rows have that the kernels take, or a multiple.
const line = 64

const header = 24 // bytes of a slice's

// NewScript makes a script for blocks of at most n elements.
func NewScript[T Float](steps []Step[T], shape Shape, n int) *Script[T] {
	s := &Script[T]{shape: shape, most: n, steps: steps}
	last := map[int]int{} // the last step that reads a slot
	for i := range steps {
		t := &steps[i]
		s.check(t)
		for _, slot := range t.reads() {
			last[slot] = i
		}
	}
	if path == pathGeneric {
		s.runs = []run{{steps: len(steps)}}
		return s
	}
	across := s.cut()
	code := make([]instruction, len(steps))
	kernels := false // do the step before
	for i := range steps {
		t, c := &steps[i], &code[i]
		if !s.fast(t) {
			s.runs = append(s.runs, run{steps: 1})
			kernels = false
			continue
		}
		if !kernels {
			s.runs = append(s.runs, run{})
		}
		r := &s.runs[len(s.runs)-1]
		r.steps++
		kind := s.kind(t)
		before := -1 // the slot that is in registers
		if n := len(r.passes); n > 0 && kind != passSums && r.passes[n-1].kind == kind {
			before = steps[i-1].Dst
		} else {
			r.passes = append(r.passes, pass{code: c, kind: kind})
		}
		r.passes[len(r.passes)-1].count++
		kernels = true

		*c = t.instruction()
		next := i + 1
		together := kind != passSums && next < len(steps) && s.fast(&steps[next]) && s.kind(&steps[next]) == kind
		if t.Local && (last[t.Dst] < next || last[t.Dst] == next && together) {
			c.store = 0
		}
		if kind == passSums {
			*(*int)(unsafe.Pointer(&c.k)) = shape.Channels * sizeOf[T]()
			continue
		}
		s.operands(c, t, before, across)
		c.choose()
	}
	return s
}

// operands says where those of an instruction come from.
func (s *Script[T]) operands(c *instruction, t *Step[T], before int, across bool) {
	for o, from := range c.from {
		if from != fromVectors {
			continue
		}
		switch slot := c.slots[1+o] / header; {
		case slot == before:
			c.from[o] = fromResult
		case t.Op == VectorSpread:
			c.from[o], c.fields[o] = fromElement, int(unsafe.Offsetof(strip{}.position))
			if across {
				c.from[o] = fromElements
			}
		case s.shape.Extents[slot] == Rows:
			c.fields[o] = int(unsafe.Offsetof(strip{}.row))
			if across {
				c.from[o] = fromVector
			}
		}
	}
}

// choose finds the form. The factors of a product and the terms of a sum may change places.
func (c *instruction) choose() {
	op := kernelOps[c.op]
	rank := [...]int{fromResult: 0, fromVector: 1, fromVectors: 2, fromElement: 3, fromElements: 4, fromConstant: 5}
	if a, b := c.from[0], c.from[1]; (op == VectorMul || op == VectorAdd || op == VectorMulAdd) && rank[a] > rank[b] {
		c.from[0], c.from[1] = b, a
		c.slots[1], c.slots[2] = c.slots[2], c.slots[1]
		c.fields[0], c.fields[1] = c.fields[1], c.fields[0]
	}
	is := form{op, c.from}
	if c.form = slices.Index(forms[:], is); c.form < 0 {
		c.form = len(forms)
	}
}

// reads are the slots that a step reads.
func (t *Step[T]) reads() []int {
	n := 1 // of VectorSpread and VectorSum
	if t.Op < numVectorOps {
		n = operands[t.Op]
	}
	return []int{t.A, t.B, t.C}[:n]
}

// check holds a step against the extents of its slots.
func (s *Script[T]) check(t *Step[T]) {
	of := s.shape.Extents
	for _, slot := range t.reads() {
		dst, src := of[t.Dst], of[slot]
		switch t.Op {
		case VectorSpread:
			dst, src = src, dst
			fallthrough
		case VectorSum:
			if dst != Positions || src != Whole {
				panic(badScript)
			}
		default:
			if dst != src && (dst != Whole || src != Rows) {
				panic(badScript)
			}
		}
	}
	if of[t.Dst] == Rows {
		panic(badScript)
	}
}

func (s *Script[T]) kind(t *Step[T]) int {
	switch {
	case t.Op == VectorSum:
		return passSums
	case s.shape.Extents[t.Dst] == Positions:
		return passPositions
	}
	return passWhole
}

// lines says whether n elements are whole lines of a cache.
func lines[T Float](n int) bool { return n > 0 && n*sizeOf[T]()%line == 0 }

// fast says whether there are kernels for a step.
func (s *Script[T]) fast(t *Step[T]) bool {
	switch {
	case t.Op == VectorSum:
		return lines[T](s.shape.Channels)
	case t.Op == VectorSpread:
		return lines[T](s.shape.Channels) && s.shape.Inner%s.shape.Channels == 0
	case !vectorised[T](t.Op):
		return false
	}
	for _, slot := range t.reads() {
		if s.shape.Extents[slot] == Rows && !lines[T](s.shape.Inner) {
			return false
		}
	}
	return true
}

// instruction is the step on whole slots.
func (t *Step[T]) instruction() instruction {
	i := instruction{slots: [4]int{t.Dst * header, t.A * header, t.B * header, t.C * header}, store: 1}
	op, k := t.Op, t.K
	for o := range t.reads() {
		i.from[o] = fromVectors
	}
	switch t.Op {
	case VectorScale:
		op, i.from[1] = VectorMul, fromConstant
	case VectorAddC:
		op, i.from[1] = VectorAdd, fromConstant
	case VectorRecip:
		op, k, i.from, i.slots[2] = VectorDiv, 1, [3]int{fromConstant, fromVectors}, i.slots[1]
	case VectorFill:
		i.from[0] = fromConstant
	case VectorSpread:
		op = VectorFill
	}
	i.op, i.form = slices.Index(kernelOps[:], op), len(forms)
	*(*T)(unsafe.Pointer(&i.k)) = k
	return i
}

// cut makes the lists of strips, and says whether those of whole blocks are one vector of a row as many times.
func (s *Script[T]) cut() (across bool) {
	channels, inner, times := s.shape.Channels, s.shape.Inner, s.shape.Times
	piece := inner // of a row, which no strip leaves
	if slices.ContainsFunc(s.steps, func(t Step[T]) bool { return t.Op == VectorSpread && s.fast(&t) }) {
		if piece = channels; inner == 0 {
			inner, times = channels, 1
		}
	}
	s.strips[passWhole] = plainStrips[T](s.most)
	if channels > 0 {
		s.strips[passPositions] = plainStrips[T](s.most / channels)
	}
	if !lines[T](inner) {
		return false
	}
	size, vector := sizeOf[T](), vectorWidth()
	vectors := piece * size / vector
	// Strips along a row are as good where there are half as many more of them: a cache fetches the next vectors ahead.
	across = piece == inner && 3*vectors*len(widths(times)) < 2*times*len(widths(vectors))
	l := strips{unit: inner * times, step: vector}
	for e := 0; e+l.unit <= s.most; e += l.unit {
		add := func(time, element, first, width int) { // from the element of a row on, and the vector first from there
			at := e + time*inner + element
			x := strip{at*size + first*vector, (e/times+element)*size + first*vector, 0, width}
			if channels > 0 {
				x.position = at / channels * size
			}
			l.list = append(l.list, x)
		}
		if across {
			for v := range vectors {
				time := 0
				for _, w := range widths(times) {
					add(time, 0, v, w)
					time += w
				}
			}
			continue
		}
		for time := range times {
			for element := 0; element < inner; element += piece {
				first := 0
				for _, w := range widths(vectors) {
					add(time, element, first, w)
					first += w
				}
			}
		}
	}
	if across {
		l.step = inner * size
	}
	l.per = len(l.list) / max(s.most/l.unit, 1)
	s.strips[passWhole] = l
	return across
}

// plainStrips are strips of n elements that follow each other.
func plainStrips[T Float](n int) strips {
	return plain[T](stripsOf(n*sizeOf[T](), widest(), vectorWidth()))
}

// plain are strips that follow each other.
func plain[T Float](list []strip) strips {
	return strips{list: list, unit: widest() * vectorWidth() / sizeOf[T](), per: 1, step: vectorWidth(), rest: true}
}

// stripsOf cuts bytes into strips.
func stripsOf(bytes, widest, vector int) (list []strip) {
	for off := 0; off+widest*vector <= bytes; off += widest * vector {
		list = append(list, strip{off: off, width: widest})
	}
	return list
}

// widest is how many vectors a strip has at most.
func widest() int {
	if path == pathAVX512 {
		return 8
	}
	return 4
}

// widths cuts a number of vectors into strips, as even as can be.
func widths(vectors int) (w []int) {
	n := (vectors + widest() - 1) / widest()
	for i := range n {
		w = append(w, vectors*(i+1)/n-vectors*i/n)
	}
	return w
}

// Run does the steps on a block of n elements. The bits of an element are those of Vector, and those of a sum of Sum.
func (s *Script[T]) Run(slots [][]T, n int) {
	channels, times := max(s.shape.Channels, 1), max(s.shape.Times, 1)
	lengths := [...]int{Whole: n, Positions: n / channels, Rows: n / times}
	if n > s.most || n%channels != 0 || n%times != 0 || s.shape.Inner > 0 && n%(times*s.shape.Inner) != 0 {
		panic(badScript)
	}
	for i, e := range s.shape.Extents {
		if len(slots[i]) < lengths[e] {
			panic(badScript)
		}
	}
	if n == 0 {
		return
	}
	at := 0
	for i := range s.runs {
		r := &s.runs[i]
		if r.passes != nil {
			kernels(r.passes, &s.strips, slots, n, n/channels)
		} else {
			for j := range r.steps {
				s.generic(&s.steps[at+j], slots, n)
			}
		}
		at += r.steps
	}
}

// generic does one step.
func (s *Script[T]) generic(t *Step[T], slots [][]T, n int) {
	channels := s.shape.Channels
	switch dst, a := slots[t.Dst], slots[t.A]; t.Op {
	case VectorSpread:
		Repeat(dst[:n], a, 1, channels)
		return
	case VectorSum:
		for i := range n / channels {
			dst[i] = T(Sum(a[i*channels:(i+1)*channels], 1))
		}
		return
	}
	of, used := s.shape.Extents, [4]int{t.Dst, t.A, t.B, t.C}
	count, step := n, n
	if of[t.Dst] == Positions {
		count, step = n/channels, n/channels
	}
	for _, slot := range t.reads() {
		if of[slot] == Rows {
			step = s.shape.Inner
		}
	}
	for at := 0; at < count; at += step {
		var x [4][]T
		for o, slot := range used[:1+operands[t.Op]] {
			from := at
			if of[slot] == Rows {
				from = at / (step * s.shape.Times) * step
			}
			x[o] = slots[slot][from : from+step]
		}
		Vector(t.Op, x[0], x[1], x[2], x[3], t.K)
	}
}

// Sum adds up the elements that lie step apart, in float64: as many sums at a time as there are elements in a line of a cache, and then
// their halves.
func Sum[T Float](x []T, step int) float64 {
	var sums [line / 4]float64
	lanes := line / sizeOf[T]()
	for i := 0; i < len(x); {
		for l := 0; l < lanes && i < len(x); l++ {
			sums[l] += float64(x[i])
			i += step
		}
	}
	used := min(lanes, (len(x)+step-1)/step)
	for n := lanes / 2; n > 0; n /= 2 {
		for l := 0; l+n < used; l++ {
			sums[l] += sums[l+n]
		}
		used = min(used, n)
	}
	return sums[0]
}
