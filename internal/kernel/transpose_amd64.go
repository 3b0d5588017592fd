//go:build !purego

package kernel

import "unsafe"

// transposeArgs is read by the transposing kernels; _asm/transpose.go repeats the offsets.
type transposeArgs struct {
	dst, src unsafe.Pointer
	step     int // bytes from row to row of src
	blocks   int // vectors of 32 bytes of a row
}

var _ = [1]struct{}{}[unsafe.Offsetof(transposeArgs{}.blocks)-24]

// transpose copies w rows of k elements, step apart, into the columns of a panel.
func transpose[T Float](dst, src []T, k, w, step int) {
	size := sizeOf[T]()
	n, nr := 32/size, panel/size
	_, _ = dst[(k-1)*nr+w-1], src[(w-1)*step+k-1]
	whole := k / n * n
	x := 0
	if whole > 0 {
		for ; x+n <= w; x += n {
			p := transposeArgs{unsafe.Pointer(&dst[x]), unsafe.Pointer(&src[x*step]), step * size, whole / n}
			if size == 4 {
				transposeF32((*byte)(unsafe.Pointer(&p)))
			} else {
				transposeF64((*byte)(unsafe.Pointer(&p)))
			}
			for q := whole; q < k; q++ {
				for c := x; c < x+n; c++ {
					dst[q*nr+c] = src[c*step+q]
				}
			}
		}
	}
	for ; x < w; x++ {
		at := x
		for _, v := range src[x*step : x*step+k] {
			dst[at] = v
			at += nr
		}
	}
}
