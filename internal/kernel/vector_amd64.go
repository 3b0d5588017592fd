//go:build !purego

package kernel

import "unsafe"

// vectorArgs is read by the vector kernels; _asm/vector.go repeats the offsets.
type vectorArgs struct {
	op      int
	dst     unsafe.Pointer
	a, b, c unsafe.Pointer
	n       int
	k       [8]byte        // a float32 or a float64
	lanes   unsafe.Pointer // the masks of vectors, see laneMasks
}

var _ = [1]struct{}{}[unsafe.Offsetof(vectorArgs{}.lanes)-56]

func vector[T Float](op VectorOp, dst, a, b, c []T, k T) {
	double := sizeOf[T]() == 8
	if path == pathGeneric || double && op >= VectorExp {
		vectorGeneric(op, dst, a, b, c, k)
		return
	}
	p := vectorArgs{op: int(op), dst: unsafe.Pointer(unsafe.SliceData(dst)), a: unsafe.Pointer(unsafe.SliceData(a)), b: unsafe.Pointer(unsafe.SliceData(b)),
		c: unsafe.Pointer(unsafe.SliceData(c)), n: len(dst), lanes: unsafe.Pointer(&laneMasks)}
	*(*T)(unsafe.Pointer(&p.k)) = k
	args := (*byte)(unsafe.Pointer(&p))
	switch {
	case path == pathAVX512 && double:
		vectorF64AVX512(args)
	case path == pathAVX512:
		vectorF32AVX512(args)
	case double:
		vectorF64AVX2(args)
	default:
		vectorF32AVX2(args)
	}
}
