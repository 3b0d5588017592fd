//go:build !purego

package kernel

import "unsafe"

// sparseArgs is read by the sparse kernels; _asm/sparse.go repeats the offsets.
type sparseArgs struct {
	a, b, c unsafe.Pointer
	index   unsafe.Pointer
	n       int
	stepB   int // bytes
	add     int
	mask    uint64
	lanes   unsafe.Pointer
}

var _ = [1]struct{}{}[unsafe.Offsetof(sparseArgs{}.lanes)-64]

func mulSparse[T Float](d *Sparse, c, a, b []T) {
	if path == pathGeneric {
		mulSparseGeneric(d, c, a, b)
		return
	}
	size, width, most := sizeOf[T](), 32, 6
	if path == pathAVX512 {
		width, most = 64, 12
	}
	p := sparseArgs{a: unsafe.Pointer(&a[0]), index: unsafe.Pointer(&d.Index[0]), n: len(d.Index), stepB: d.RowB * size}
	if d.Add {
		p.add = 1
	}
	set, lanes := kernelSet[T]()/3*4, width/size
	for j := 0; j < d.N; {
		kind, n := 0, most // the largest kernel of which all vectors are there
		for vectors := (d.N - j + lanes - 1) / lanes; n > vectors; kind++ {
			n = [...]int{4, 2, 1}[kind]
		}
		w := min(d.N-j-(n-1)*lanes, lanes)
		p.mask, p.lanes = 1<<w-1, unsafe.Pointer(&laneMasks[64-w*size])
		p.b, p.c = unsafe.Pointer(&b[j]), unsafe.Pointer(&c[j])
		if path == pathAVX512 && 2*w <= lanes {
			callSparse(set+kind+halfSparse, &p)
		} else {
			callSparse(set+kind, &p)
		}
		j += n * lanes
	}
}

// halfSparse is from a kernel for AVX-512 to the one whose last vector has half the width: what is read of a row less often lies on two lines.
const halfSparse = 8

// callSparse runs a sparse kernel: the largest, or the one of 4, 2 or 1 vectors.
func callSparse(kernel int, args *sparseArgs) {
	p := (*byte)(unsafe.Pointer(args))
	switch kernel {
	case 0:
		sparse6F32AVX2(p)
	case 1:
		sparse4F32AVX2(p)
	case 2:
		sparse2F32AVX2(p)
	case 3:
		sparse1F32AVX2(p)
	case 4:
		sparse6F64AVX2(p)
	case 5:
		sparse4F64AVX2(p)
	case 6:
		sparse2F64AVX2(p)
	case 7:
		sparse1F64AVX2(p)
	case 8:
		sparse12F32AVX512(p)
	case 9:
		sparse4F32AVX512(p)
	case 10:
		sparse2F32AVX512(p)
	case 11:
		sparse1F32AVX512(p)
	case 12:
		sparse12F64AVX512(p)
	case 13:
		sparse4F64AVX512(p)
	case 14:
		sparse2F64AVX512(p)
	case 15:
		sparse1F64AVX512(p)
	case 16:
		sparse12F32AVX512Half(p)
	case 17:
		sparse4F32AVX512Half(p)
	case 18:
		sparse2F32AVX512Half(p)
	case 19:
		sparse1F32AVX512Half(p)
	case 20:
		sparse12F64AVX512Half(p)
	case 21:
		sparse4F64AVX512Half(p)
	case 22:
		sparse2F64AVX512Half(p)
	case 23:
		sparse1F64AVX512Half(p)
	default:
		panic("kernel: no such kernel")
	}
}
