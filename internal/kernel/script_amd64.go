//go:build !purego

package kernel

import "unsafe"

// scriptArgs is read by the kernels of scripts; _asm/script.go repeats the offsets.
type scriptArgs struct {
	passes    unsafe.Pointer // the first
	count     int
	slots     unsafe.Pointer // the header of the first
	lanes     unsafe.Pointer // the masks of vectors, see laneMasks
	lists     [2]stripList   // by kind of pass
	positions int

	state [4]int // the kernels' own
}

// stripList is the strips of a block: some of a list, and then what is left.
type stripList struct {
	first unsafe.Pointer
	count int
	step  int
	left  int // how many of more
	more  [2]strip
}

var (
	_ = [1]struct{}{}[unsafe.Offsetof(scriptArgs{}.state)-232]
	_ = [1]struct{}{}[unsafe.Sizeof(stripList{})-96]
	_ = [1]struct{}{}[unsafe.Sizeof(instruction{})-112]
)

// kernels does passes over a block of n elements and their positions.
func kernels[T Float](passes []pass, lists *[2]strips, slots [][]T, n, positions int) {
	p := scriptArgs{passes: unsafe.Pointer(&passes[0]), count: len(passes), slots: unsafe.Pointer(&slots[0]), lanes: unsafe.Pointer(&laneMasks), positions: positions}
	lanes := vectorWidth() / sizeOf[T]()
	for i, n := range [...]int{passWhole: n, passPositions: positions} {
		s, l := &lists[i], &p.lists[i]
		if s.unit == 0 {
			continue
		}
		l.count, l.step = n/s.unit*s.per, s.step
		l.first = unsafe.Pointer(unsafe.SliceData(s.list))
		if !s.rest {
			continue
		}
		size := sizeOf[T]()
		at := n / s.unit * s.unit
		if w := (n - at) / lanes; w > 0 {
			l.more[0] = strip{off: at * size, width: w}
			at += w * lanes
			l.left++
		}
		if at < n {
			l.more[l.left] = strip{off: at * size, row: n - at}
			l.left++
		}
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
}
