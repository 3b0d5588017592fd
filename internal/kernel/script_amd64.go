//go:build !purego

package kernel

import "unsafe"

// scriptArgs is read by the kernels of scripts; _asm/vector.go repeats the offsets.
type scriptArgs struct {
	code       unsafe.Pointer // the first instruction
	count      int
	slots      unsafe.Pointer // the header of the first slot
	lanes      unsafe.Pointer // the masks of vectors, see laneMasks
	full, rest [2]int         // vectors of a slot, and elements that are left, by extent
	rows       int
	positions  int

	state [5]int // the kernels' own
}

var (
	_ = [1]struct{}{}[unsafe.Offsetof(scriptArgs{}.state)-80]
	_ = [1]struct{}{}[unsafe.Sizeof(instruction{})-176]
)

// kernels does the steps from at on for which there are kernels, and returns how many.
func (s *Script[T]) kernels(slots [][]T, n, at int) int {
	if path == pathGeneric || !s.code[at].fast {
		return 0
	}
	count := 1
	for at+count < len(s.code) && s.code[at+count].fast {
		count++
	}
	p := scriptArgs{code: unsafe.Pointer(&s.code[at]), count: count, slots: unsafe.Pointer(&slots[0]), lanes: unsafe.Pointer(&laneMasks)}
	lanes := vectorWidth() / sizeOf[T]()
	p.full[Whole], p.rest[Whole] = n/lanes, n%lanes
	if c := s.shape.Channels; c > 0 {
		p.positions = n / c
		p.full[Positions], p.rest[Positions] = p.positions/lanes, p.positions%lanes
	}
	if row := s.shape.Inner * s.shape.Times; row > 0 {
		p.rows = n / row
	}
	args := (*byte)(unsafe.Pointer(&p))
	switch double := sizeOf[T]() == 8; {
	case path == pathAVX512 && double:
		scriptF64AVX512(args)
	case path == pathAVX512:
		scriptF32AVX512(args)
	case double:
		scriptF64AVX2(args)
	default:
		scriptF32AVX2(args)
	}
	return count
}
