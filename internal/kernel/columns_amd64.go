//go:build !purego

package kernel

import "unsafe"

// columnsArgs is read by the columns kernels; _asm/columns.go repeats the offsets.
type columnsArgs struct {
	q     unsafe.Pointer // the header of the first column's slice
	at    int            // bytes
	count int            // columns
	w     unsafe.Pointer
	n     int            // rows, a positive multiple of lineRows
	x     unsafe.Pointer // sums or coefficients
}

var _ = [1]struct{}{}[unsafe.Offsetof(columnsArgs{}.x)-40]

// wholeLines describes as many rows as the kernels can take.
func wholeLines[T Float](x []float64, q [][]T, at int, w []float64) (p columnsArgs) {
	n := len(w) / lineRows * lineRows
	if path == pathGeneric || n == 0 || len(q) == 0 {
		return p
	}
	return columnsArgs{q: unsafe.Pointer(&q[0]), at: at * sizeOf[T](), count: len(q), w: unsafe.Pointer(&w[0]), n: n, x: unsafe.Pointer(&x[0])}
}

// dots does the first rows and returns how many.
func dots[T Float](sums []float64, q [][]T, at int, w []float64) int {
	p := wholeLines(sums, q, at, w)
	if p.n == 0 {
		return 0
	}
	args := (*byte)(unsafe.Pointer(&p))
	switch double := sizeOf[T]() == 8; {
	case path == pathAVX512 && double:
		dotsF64AVX512(args)
	case path == pathAVX512:
		dotsF32AVX512(args)
	case double:
		dotsF64AVX2(args)
	default:
		dotsF32AVX2(args)
	}
	return p.n
}

// minus does the first rows and returns how many.
func minus[T Float](w, c []float64, q [][]T, at int) int {
	p := wholeLines(c, q, at, w)
	if p.n == 0 {
		return 0
	}
	args := (*byte)(unsafe.Pointer(&p))
	switch double := sizeOf[T]() == 8; {
	case path == pathAVX512 && double:
		minusF64AVX512(args)
	case path == pathAVX512:
		minusF32AVX512(args)
	case double:
		minusF64AVX2(args)
	default:
		minusF32AVX2(args)
	}
	return p.n
}
