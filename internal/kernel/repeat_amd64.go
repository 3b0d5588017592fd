//go:build !purego

package kernel

import "unsafe"

// repeatArgs is read by the kernels that repeat; _asm/repeat.go repeats the offsets.
type repeatArgs struct {
	dst, src unsafe.Pointer
	rows     int
	times    int
	vectors  int // of a row, or of the places of an element
}

var _ = [1]struct{}{}[unsafe.Offsetof(repeatArgs{}.vectors)-32]

// repeat is false where rows are no whole vectors.
func repeat[T Float](dst, src []T, n, times int) bool {
	size, width := sizeOf[T](), 32
	if path == pathAVX512 {
		width = 64
	}
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
