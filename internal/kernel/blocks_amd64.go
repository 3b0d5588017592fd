//go:build !purego

package kernel

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// rowArgs is read by the rows kernels; _asm/main.go repeats the offsets of the
// fields. A kernel walks over blocks of rows, inside over taps, inside over terms.
type rowArgs struct {
	a       unsafe.Pointer // the offsets count from here
	zero    unsafe.Pointer // the row that a negative offset means
	off     unsafe.Pointer // int32 offsets of the rows, in elements; the next tap's follow 4 bytes on
	offRow  int            // bytes from row to row of off
	taps    int
	k       int // bytes walked over in a row of A, for each tap: terms·stepK
	stepK   int // bytes from term to term in a row of A
	b       unsafe.Pointer
	ldb     int // bytes from term to term of B, through all taps
	c       unsafe.Pointer
	ldc     int            // bytes from row to row of C
	m       int            // rows to store in every block
	add     int            // 1 adds to C, 0 overwrites it
	mask    uint64         // columns, AVX-512
	lanes   unsafe.Pointer // columns, AVX2: the masks of the vectors, or nil for all
	blocks  int            // blocks of rows, at least one
	stepA   int            // bytes that a moves from block to block
	stepOff int            // bytes that off moves from block to block
	tapB    int            // bytes that b moves from tap to tap beyond its terms

	// The kernel's own. Cursors move past the end of what they walk over, so they
	// must not be pointers.
	curA, curC, curOff, tapOff uintptr
	left                       int
}

// pairArgs is read by the pairs kernels; _asm/main.go repeats the offsets.
type pairArgs struct {
	a, b  unsafe.Pointer
	steps unsafe.Pointer // n of them, and stepsAhead to spare
	n     int
	c     unsafe.Pointer
	ldc   int // bytes
	m     int // rows to store
	mask  uint64
	lanes unsafe.Pointer
	rows  [4]int // bytes from a to the rows' elements, for the kernels of four rows
}

// The generator's offsets are those of fields of eight bytes in this order.
var (
	_ = [1]struct{}{}[unsafe.Offsetof(rowArgs{}.left)-184]
	_ = [1]struct{}{}[unsafe.Offsetof(pairArgs{}.rows)-72]
)

// laneMasks gives, from byte 64-n on, the masks of the first n bytes of 64.
var laneMasks = func() (m [128]byte) {
	for i := range 64 {
		m[i] = 0xff
	}
	return
}()

func bestPath() string {
	switch {
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512VL && cpu.X86.HasAVX2 && cpu.X86.HasFMA:
		return pathAVX512
	case cpu.X86.HasAVX2 && cpu.X86.HasFMA:
		return pathAVX2
	}
	return pathGeneric
}

// panel is the width of a panel of B in bytes, on both vector paths.
const panel = 64

// unit is the smallest block of rows; the rows kernels take 3, 2 and 1 units.
func unit() int {
	if path == pathAVX512 {
		return 4
	}
	return 2
}

// kernelSet is the first of the numbers of a path's and precision's kernels.
func kernelSet[T Float]() int {
	n := 0
	if path == pathAVX512 {
		n += 6
	}
	if sizeOf[T]() == 8 {
		n += 3
	}
	return n
}

// narrow is the set for w columns of a panel: where half a vector holds them, AVX-512 has kernels that take half the time.
func narrow(set, w, size int) int {
	if path == pathAVX512 && w*size <= panel/2 {
		return set + 6
	}
	return set
}

// callRows runs the rows kernel of set that takes units units of rows. A switch,
// not a table of functions, keeps p on the stack.
func callRows(set, units int, args *rowArgs) {
	p := (*byte)(unsafe.Pointer(args))
	switch set + units - 1 {
	case 0:
		rows2F32AVX2(p)
	case 1:
		rows4F32AVX2(p)
	case 2:
		rows6F32AVX2(p)
	case 3:
		rows2F64AVX2(p)
	case 4:
		rows4F64AVX2(p)
	case 5:
		rows6F64AVX2(p)
	case 6:
		rows4F32AVX512(p)
	case 7:
		rows8F32AVX512(p)
	case 8:
		rows12F32AVX512(p)
	case 9:
		rows4F64AVX512(p)
	case 10:
		rows8F64AVX512(p)
	case 11:
		rows12F64AVX512(p)
	case 12:
		rows4F32AVX512Half(p)
	case 13:
		rows8F32AVX512Half(p)
	case 14:
		rows12F32AVX512Half(p)
	case 15:
		rows4F64AVX512Half(p)
	case 16:
		rows8F64AVX512Half(p)
	case 17:
		rows12F64AVX512Half(p)
	}
}

// callPairs runs a pairs kernel: the largest (0), the middle one (1, AVX-512
// only), or the one for up to four rows (2).
func callPairs(set, kind int, args *pairArgs) {
	p := (*byte)(unsafe.Pointer(args))
	switch set + kind {
	case 0:
		pairs6F32AVX2(p)
	case 2:
		pairs4F32AVX2(p)
	case 3:
		pairs6F64AVX2(p)
	case 5:
		pairs4F64AVX2(p)
	case 6:
		pairs16F32AVX512(p)
	case 7:
		pairs8F32AVX512(p)
	case 8:
		pairs4F32AVX512(p)
	case 9:
		pairs16F64AVX512(p)
	case 10:
		pairs8F64AVX512(p)
	case 11:
		pairs4F64AVX512(p)
	case 12:
		pairs16F32AVX512Half(p)
	case 13:
		pairs8F32AVX512Half(p)
	case 14:
		pairs4F32AVX512Half(p)
	case 15:
		pairs16F64AVX512Half(p)
	case 16:
		pairs8F64AVX512Half(p)
	case 17:
		pairs4F64AVX512Half(p)
	default:
		panic("kernel: no such kernel")
	}
}

func maxOffset(off []int32) int32 {
	m := int32(-1)
	if n := len(off) &^ 31; n > 0 && path != pathGeneric {
		m = max(m, maxInt32(&off[0], n))
		off = off[n:]
	}
	return max(m, maxOffsetGeneric(off))
}

// Fetch asks for x to be brought into the second cache.
func Fetch[T Float](x []T) {
	if path != pathGeneric && len(x) > 0 {
		fetchLines((*byte)(unsafe.Pointer(&x[0])), (len(x)*sizeOf[T]()+line-1)/line)
	}
}

// peakRounds runs n rounds of multiply-adds and counts their operations.
func peakRounds[T Float](n int) (flops float64) {
	if path == pathGeneric {
		flops, _ = peakGeneric[T](n)
		return flops
	}
	flops = 2 * 12 * float64(n*panel/sizeOf[T]())
	switch kernelSet[T]() {
	case 6:
		peakF32AVX512(n)
	case 9:
		peakF64AVX512(n)
	case 0:
		peakF32AVX2(n)
		flops /= 2
	case 3:
		peakF64AVX2(n)
		flops /= 2
	}
	return flops
}
