//go:build !purego

package kernel

import "unsafe"

// repeatArgs is read by the kernels that repeat; _asm/repeat.go repeats the offsets.
type repeatArgs struct {
	dst, src unsafe.Pointer
	rows     int
	times    int
	vectors  int // of a row, or of the places of an element

	// Of addRows only: what is left of a row, its bytes, and the masks of vectors (see laneMasks).
	rest, step int
	lanes      unsafe.Pointer
}

var _ = [1]struct{}{}[unsafe.Offsetof(repeatArgs{}.lanes)-56]

// vectorWidth is the size of a vector in bytes.
func vectorWidth() int {
	if path == pathAVX512 {
		return 64
	}
	return 32
}

// repeat is false where rows are no whole vectors.
func repeat[T Float](dst, src []T, n, times int) bool {
	size, width := sizeOf[T](), vectorWidth()
	p := repeatArgs{dst: unsafe.Pointer(&dst[0]), src: unsafe.Pointer(&src[0]), rows: len(dst) / (n * times), times: times, vectors: n * size / width}
	spread := n == 1
	if spread {
		p.vectors = times * size / width
	}
	if path == pathGeneric || n*size%width != 0 && !(spread && times*size%width == 0) {
		return false
	}
	args := (*byte)(unsafe.Pointer(&p))
	switch {
	case path == pathAVX512 && size == 4 && spread:
		spreadF32AVX512(args)
	case path == pathAVX512 && size == 4:
		repeatF32AVX512(args)
	case path == pathAVX512 && spread:
		spreadF64AVX512(args)
	case path == pathAVX512:
		repeatF64AVX512(args)
	case size == 4 && spread:
		spreadF32AVX2(args)
	case size == 4:
		repeatF32AVX2(args)
	case spread:
		spreadF64AVX2(args)
	default:
		repeatF64AVX2(args)
	}
	return true
}

func addRows[T Float](dst, src []T, rows, step int) bool {
	if path == pathGeneric {
		return false
	}
	n, lanes := len(dst), vectorWidth()/sizeOf[T]()
	p := repeatArgs{dst: unsafe.Pointer(&dst[0]), src: unsafe.Pointer(&src[0]), times: rows,
		vectors: n / lanes, rest: n % lanes, step: step * sizeOf[T](), lanes: unsafe.Pointer(&laneMasks)}
	args := (*byte)(unsafe.Pointer(&p))
	switch double := sizeOf[T]() == 8; {
	case path == pathAVX512 && double:
		addRowsF64AVX512(args)
	case path == pathAVX512:
		addRowsF32AVX512(args)
	case double:
		addRowsF64AVX2(args)
	default:
		addRowsF32AVX2(args)
	}
	return true
}
