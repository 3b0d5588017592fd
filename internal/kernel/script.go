package kernel

import "unsafe"

// Step is an operation of a Script: it makes slot Dst of slots A, B and C, those of them that it reads. K is its constant.
type Step[T Float] struct {
	Op           VectorOp
	Dst, A, B, C int
	K            T
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

// Script is a sequence of operations on blocks, for which a call of Run makes one call of a kernel if it can.
type Script[T Float] struct {
	shape Shape
	steps []Step[T]
	code  []instruction
}

// instruction is a step as the kernels read it; _asm/vector.go repeats the offsets.
type instruction struct {
	op     int
	slots  [4]int // offsets of the headers of dst, a, b and c
	k      [8]byte
	extent int
	row    int // bytes of a row of Inner elements or of Channels
	times  int

	// What brings the operands from one vector to that in the next time, from there after the last time to the next vector of the row, but
	// for its width, and from there after the last vector to the next row.
	next, back, toRow [4]int

	fast bool // there is a kernel
}

const badScript = "kernel: a script's slots do not fit each other"

// line is how many bytes rows have that the kernels take, or a multiple.
const line = 64

// NewScript makes a script.
func NewScript[T Float](steps []Step[T], shape Shape) *Script[T] {
	s := &Script[T]{shape: shape, steps: steps}
	for _, t := range steps {
		s.code = append(s.code, s.instruction(t))
	}
	return s
}

// slots of a step, dst first.
func (t *Step[T]) slots() [4]int { return [4]int{t.Dst, t.A, t.B, t.C} }

func (s *Script[T]) instruction(t Step[T]) instruction {
	const header = 24 // of a slice
	size, of := sizeOf[T](), s.shape.Extents
	i := instruction{op: int(t.Op), extent: int(of[t.Dst]), fast: size == 4 || t.Op < VectorExp || t.Op > VectorErf}
	*(*T)(unsafe.Pointer(&i.k)) = t.K
	used := t.slots()
	for o, slot := range used {
		i.slots[o] = slot * header
	}
	switch t.Op {
	case VectorSpread, VectorSum:
		if want := [2]Extent{Whole, Positions}; t.Op == VectorSpread && [2]Extent{of[t.Dst], of[t.A]} != want || t.Op == VectorSum && [2]Extent{of[t.A], of[t.Dst]} != want {
			panic(badScript)
		}
		i.row = s.shape.Channels * size
		i.fast = i.row%line == 0
		return i
	}
	for o, slot := range used[:1+operands[t.Op]] {
		switch e := of[slot]; {
		case o > 0 && e == Rows && of[t.Dst] == Whole:
			i.extent = int(Rows)
		case e == Rows || e != of[t.Dst]:
			panic(badScript)
		}
	}
	if i.extent == int(Rows) {
		i.row, i.times = s.shape.Inner*size, s.shape.Times
		i.fast = i.fast && i.row%line == 0
		for o, slot := range used {
			if of[slot] != Rows {
				i.next[o], i.toRow[o] = i.row, (i.times-1)*i.row
			}
			i.back[o] = -i.next[o] * i.times
		}
	}
	return i
}

// Run does the steps on a block of n elements. The bits of an element are those of Vector, and those of a sum of Sum.
func (s *Script[T]) Run(slots [][]T, n int) {
	channels, times := max(s.shape.Channels, 1), max(s.shape.Times, 1)
	lengths := [...]int{Whole: n, Positions: n / channels, Rows: n / times}
	if n%channels != 0 || n%times != 0 || times > 1 && n%(times*s.shape.Inner) != 0 {
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
	for at := 0; at < len(s.code); {
		if done := s.kernels(slots, n, at); done > 0 {
			at += done
			continue
		}
		s.generic(&s.steps[at], slots, n)
		at++
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
	of, used := s.shape.Extents, t.slots()
	count, step := n, n
	if of[t.Dst] == Positions {
		count, step = n/channels, n/channels
	}
	for _, slot := range used[1 : 1+operands[t.Op]] {
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
