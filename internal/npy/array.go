package npy

import (
	"fmt"
	"io"
	"sync"

	"hessdens/internal/tensor"
)

// Array is a block of values of one type in a file, seen as rows along its first axis. Its
// values stay in the file: reads convert them range by range. It is safe for use by several
// goroutines at once when Data is.
type Array struct {
	DType     tensor.DType
	BigEndian bool
	Fortran   bool // the first axis varies fastest; needs Stride 0
	Shape     []int
	Data      io.ReaderAt
	Offset    int64 // of the first value in Data, in bytes
	Stride    int64 // from a row to the next in bytes; 0: rows follow each other
}

// Open reads the header of a .npy file of size bytes and describes its array. It fails on a
// malformed header, a type that is not read, and a size that does not fit the shape.
func Open(r io.ReaderAt, size int64) (*Array, error) {
	h, err := ReadHeader(io.NewSectionReader(r, 0, size), size)
	if err != nil {
		return nil, err
	}
	if err := h.Supported(); err != nil {
		return nil, err
	}
	return h.array(r, 0), nil
}

// array is the array whose .npy file begins at byte off of r.
func (h Header) array(r io.ReaderAt, off int64) *Array {
	return &Array{DType: h.DType, BigEndian: h.BigEndian, Fortran: h.Fortran, Shape: h.Shape, Data: r, Offset: off + h.Len}
}

// Type is DType, for those that see an array as one of several kinds of blocks.
func (a *Array) Type() tensor.DType { return a.DType }

// Rows is the length of the first axis, 1 for a scalar.
func (a *Array) Rows() int {
	if len(a.Shape) == 0 {
		return 1
	}
	return a.Shape[0]
}

// RowLen is the number of values of a row.
func (a *Array) RowLen() int {
	if len(a.Shape) == 0 {
		return 1
	}
	return tensor.Count(a.Shape[1:])
}

// Panics of this package: defects of the caller.
const (
	badRange = "npy: rows out of range or a destination of another length"
	badType  = "npy: values read as a type that does not hold them"
)

// Floats reads rows [lo, hi) as float64 into dst, row-major, (hi−lo)·RowLen values. Any type is
// read; 64-bit integers beyond 2^53 are rounded, a bool is 0 or 1. It fails when the file does. It
// panics when dst or the range does not fit.
func (a *Array) Floats(dst []float64, lo, hi int) error {
	return read(a, dst, lo, hi, toFloat64)
}

// Ints reads rows [lo, hi) as int64 into dst, as Floats does. It panics on a floating-point
// array and fails on an unsigned value beyond 2^63 − 1.
func (a *Array) Ints(dst []int64, lo, hi int) error {
	if a.DType.IsFloat() {
		panic(badType)
	}
	return read(a, dst, lo, hi, toInt64)
}

// Bytes reads rows [lo, hi) of an array of uint8 or bool into dst, as Floats does. It panics on
// any other type.
func (a *Array) Bytes(dst []uint8, lo, hi int) error {
	if a.DType != tensor.Uint8 && a.DType != tensor.Bool {
		panic(badType)
	}
	return read(a, dst, lo, hi, toUint8)
}

// Tensor reads the whole array, row-major, in the type that tensor.Tensor holds its values in.
func (a *Array) Tensor() (*tensor.Tensor, error) {
	t := &tensor.Tensor{DType: a.DType, Shape: append([]int{}, a.Shape...)}
	var err error
	switch {
	case a.DType == tensor.Float64:
		t.F64, err = whole(a, toFloat64)
	case a.DType.IsFloat():
		t.F32, err = whole(a, toFloat32)
	case a.DType == tensor.Uint8 || a.DType == tensor.Bool:
		t.U8, err = whole(a, toUint8)
	default:
		t.I64, err = whole(a, toInt64)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// bufSize is the number of file bytes converted at once: small enough for a second-level cache,
// large enough that a system call does not show.
const bufSize = 1 << 17

var buffers = sync.Pool{New: func() any { b := make([]byte, bufSize); return &b }}

// converter turns little-endian values of a type into Go's; it returns the index of the first
// value that does not fit, or −1.
type converter[T any] func(dst []T, src []byte, d tensor.DType) int

// read is the common part of Floats, Ints and Bytes.
func read[T any](a *Array, dst []T, lo, hi int, conv converter[T]) error {
	row := a.RowLen()
	if lo < 0 || hi < lo || hi > a.Rows() || len(dst) != (hi-lo)*row {
		panic(badRange)
	}
	es := int64(a.DType.Size())
	size := es * int64(row)
	switch {
	case a.Fortran && len(a.Shape) > 1 && row != 1:
		// One run of rows for each place in a row: column j of the flattened rows is
		// contiguous in the file, at its Fortran index.
		run := make([]T, hi-lo)
		f := newFortran(a.Shape[1:])
		for j := range row {
			off := a.Offset + (int64(f.next())*int64(a.Rows())+int64(lo))*es
			if err := flat(a, run, off, conv); err != nil {
				return err
			}
			for i, v := range run {
				dst[i*row+j] = v
			}
		}
		return nil
	case a.Stride != 0 && a.Stride != size:
		for i := lo; i < hi; i++ {
			if err := flat(a, dst[(i-lo)*row:(i-lo+1)*row], a.Offset+int64(i)*a.Stride, conv); err != nil {
				return err
			}
		}
		return nil
	}
	return flat(a, dst, a.Offset+int64(lo)*size, conv)
}

// whole reads all values, row-major.
func whole[T any](a *Array, conv converter[T]) ([]T, error) {
	dst := make([]T, tensor.Count(a.Shape))
	if !a.Fortran || len(a.Shape) < 2 {
		return dst, read(a, dst, 0, a.Rows(), conv)
	}
	src := make([]T, len(dst))
	if err := flat(a, src, a.Offset, conv); err != nil {
		return nil, err
	}
	f := newFortran(a.Shape)
	for i := range dst {
		dst[i] = src[f.next()]
	}
	return dst, nil
}

// flat reads len(dst) values that follow each other from byte off.
func flat[T any](a *Array, dst []T, off int64, conv converter[T]) error {
	es := a.DType.Size()
	if es == 0 {
		panic(badType)
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for len(dst) > 0 {
		n := min(len(dst), bufSize/es)
		b := (*buf)[:n*es]
		if got, err := a.Data.ReadAt(b, off); got < len(b) {
			return fmt.Errorf("reading %d bytes at offset %d: %w", len(b), off, noEOF(err))
		}
		if a.BigEndian {
			swap(b, es)
		}
		if bad := conv(dst[:n], b, a.DType); bad >= 0 {
			return fmt.Errorf("offset %d: a %s beyond 2^63-1 (save the values as int64)", off+int64(bad*es), a.DType)
		}
		dst = dst[n:]
		off += int64(len(b))
	}
	return nil
}

// fortran gives, for row-major places in a shape one after the other, the place's index in
// Fortran order.
type fortran struct {
	shape, stride, at []int
	index             int
}

func newFortran(shape []int) *fortran {
	f := &fortran{shape: shape, stride: make([]int, len(shape)), at: make([]int, len(shape))}
	n := 1
	for i, s := range shape {
		f.stride[i] = n
		n *= s
	}
	return f
}

// next is the index of the present place, and goes on to the next.
func (f *fortran) next() int {
	index := f.index
	for i := len(f.shape) - 1; i >= 0; i-- {
		f.at[i]++
		f.index += f.stride[i]
		if f.at[i] < f.shape[i] {
			break
		}
		f.index -= f.at[i] * f.stride[i]
		f.at[i] = 0
	}
	return index
}
